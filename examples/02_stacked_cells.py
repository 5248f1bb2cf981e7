"""Two LSTM layers, one on the other: 4 and 5 units read two texts of three steps with six features each.

The first layer turns every step into 4 numbers, the second reads those as its input and gives 5. Each layer has its
own state. Reading the three steps one at a time, with the states carried along, gives the same outputs as reading
them at once. So a long text can be cut into pieces: whoever keeps the states loses nothing.

Prints:

    input           (2, 3, 6)
    first layer     (2, 3, 4)  state h, c: (2, 4) (2, 4)
    second layer    (2, 3, 5)  state h, c: (2, 5) (2, 5)
    output of text 0:
    [[ 0.0826  0.0724  0.0836 -0.0627 -0.0892]
     [ 0.1005  0.1349  0.1139 -0.1154 -0.2051]
     [ 0.1038  0.1844  0.1298 -0.1376 -0.2668]]
    output of text 1 (the same until the last step):
    [[ 0.0826  0.0724  0.0836 -0.0627 -0.0892]
     [ 0.1005  0.1349  0.1139 -0.1154 -0.2051]
     [ 0.0825  0.1965  0.1448 -0.1333 -0.2508]]
    state h of the second layer (its last outputs):
    [[ 0.1038  0.1844  0.1298 -0.1376 -0.2668]
     [ 0.0825  0.1965  0.1448 -0.1333 -0.2508]]
    step by step with the states carried along, the largest difference is below 1e-6: True
"""

import numpy as np

import kerasptb

X = np.array(
    [
        [[1, 0, 2, 0, 3, 0], [0, 1, 0, 2, 0, 3], [1, 1, 1, 1, 1, 1]],
        [[1, 0, 2, 0, 3, 0], [0, 1, 0, 2, 0, 3], [3, 0, 0, 0, 0, 0]],
    ],
    "float32",
)  # [2, 3, 6]: the texts differ in their last step only


def make_layer(units, features, random):
    layer = kerasptb.layers.FusedLSTM(units, return_sequences=True, return_state=True)
    layer.build((2, None, features))
    layer.set_weights([random.uniform(-0.5, 0.5, w.shape).astype("float32") for w in layer.weights])
    return layer


def main():
    random = np.random.default_rng(2)
    first, second = make_layer(4, 6, random), make_layer(5, 4, random)

    middle, h_first, c_first = first(X)
    output, h_second, c_second = second(middle)
    print("input          ", X.shape)
    print("first layer    ", tuple(middle.shape), " state h, c:", tuple(h_first.shape), tuple(c_first.shape))
    print("second layer   ", tuple(output.shape), " state h, c:", tuple(h_second.shape), tuple(c_second.shape))
    print("output of text 0:")
    print(np.round(output[0], 4))
    print("output of text 1 (the same until the last step):")
    print(np.round(output[1], 4))
    print("state h of the second layer (its last outputs):")
    print(np.round(h_second, 4))

    states, pieces = [None, None], []
    for t in range(3):
        x = X[:, t : t + 1, :]
        for k, layer in enumerate((first, second)):
            x, *states[k] = layer(x, initial_state=states[k])
        pieces.append(x)
    difference = np.abs(np.concatenate(pieces, axis=1) - output).max()
    print("step by step with the states carried along, the largest difference is below 1e-6:", difference < 1e-6)


if __name__ == "__main__":
    main()
