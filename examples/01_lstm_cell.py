"""One LSTM cell: four units read one word, by the layer and by hand.

A cell carries two vectors from step to step, the output h and the memory c, here of 4 numbers each. From an input x
and the h and c before it, four small networks ("gates", each with its own columns of the weights) decide what happens:

    i = sigmoid(x Wi + h Ui + bi)      how much of the candidate to write into the memory
    f = sigmoid(x Wf + h Uf + bf)      how much of the old memory to keep
    g = tanh   (x Wg + h Ug + bg)      the candidate
    o = sigmoid(x Wo + h Uo + bo)      how much of the memory to show
    c' = f c + i g
    h' = o tanh(c')

(Hochreiter and Schmidhuber, 1997, with the forget gate of Gers et al., 2000.) Keras keeps the gates side by side in the
order i, f, g, o: W is its `kernel` [6, 16], U its `recurrent_kernel` [4, 16]. The same input read twice gives two
outputs, because the second reading begins from the state that the first one left: that is the whole point.

Prints:

    input (1, 6) with kernel (6, 16) recurrent_kernel (4, 16) bias (16,)
    step 1
      output        [[-0.0214  0.3641  0.1307 -0.0921]]
      state h       [[-0.0214  0.3641  0.1307 -0.0921]]  the output again
      state c       [[-0.0403  0.677   0.1505 -0.1576]]
      h by hand     [[-0.0214  0.3641  0.1307 -0.0921]]
      c by hand     [[-0.0403  0.677   0.1505 -0.1576]]
    step 2
      output        [[-0.0288  0.4359  0.2589 -0.1641]]
      state h       [[-0.0288  0.4359  0.2589 -0.1641]]  the output again
      state c       [[-0.0574  0.9081  0.2994 -0.2989]]
      h by hand     [[-0.0288  0.4359  0.2589 -0.1641]]
      c by hand     [[-0.0574  0.9081  0.2994 -0.2989]]
"""

import numpy as np

import kerasptb

UNITS = 4


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def step_by_hand(x, h, c, kernel, recurrent_kernel, bias):
    i, f, g, o = np.split(x @ kernel + h @ recurrent_kernel + bias, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return h, c


def main():
    x = np.array([[3, 2, 2, 2, 2, 2]], "float32")  # a batch of one input with six features
    random = np.random.default_rng(0)
    weights = [random.uniform(-0.5, 0.5, shape).astype("float32") for shape in ((6, 16), (4, 16), (16,))]

    cell = kerasptb.layers.FusedLSTM(UNITS, return_state=True)
    cell.build((1, 1, 6))
    cell.set_weights(weights)
    print("input", x.shape, "with", *(f"{w.name} {tuple(w.shape)}" for w in cell.weights))

    h = c = np.zeros((1, UNITS), "float32")
    h_by_hand, c_by_hand = h, c
    for step in (1, 2):
        output, h, c = cell(x[:, np.newaxis, :], initial_state=[h, c])  # a text of one step: [1, 1, 6]
        h_by_hand, c_by_hand = step_by_hand(x, h_by_hand, c_by_hand, *weights)
        print(f"step {step}")
        print("  output       ", np.round(output, 4))
        print("  state h      ", np.round(h, 4), " the output again")
        print("  state c      ", np.round(c, 4))
        print("  h by hand    ", np.round(h_by_hand, 4))
        print("  c by hand    ", np.round(c_by_hand, 4))
        np.testing.assert_allclose(h, h_by_hand, atol=1e-6)
        np.testing.assert_allclose(c, c_by_hand, atol=1e-6)


if __name__ == "__main__":
    main()
