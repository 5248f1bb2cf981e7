"""The trainable variables, their gradients, and the clipping of the gradients' global norm.

The original has seven variables, and this model nine. TensorFlow 1 keeps an LSTM layer's input weights and recurrent
weights in one matrix [D + H, 4 H]; Keras keeps them in two, with another order of the gates. The numbers are the same.

The gradient of the embedding has rows only for the words of the batch. The global norm is the length of all gradients
taken as one long vector. If it is above 5, all gradients are scaled by one factor so that it is 5. The direction does
not change, and no step becomes so long that it undoes what was learnt.

Prints, with `--data sample`:

    the original's seven trainable variables       of our nine
      embedding                      (1212, 200)    embedding/embeddings
      cell_0/basic_lstm_cell/kernel  (456, 1024)    lstm_0/kernel + lstm_0/recurrent_kernel
      cell_0/basic_lstm_cell/bias    (1024,)        lstm_0/bias
      cell_1/basic_lstm_cell/kernel  (384, 512)     lstm_1/kernel + lstm_1/recurrent_kernel
      cell_1/basic_lstm_cell/bias    (512,)         lstm_1/bias
      softmax_w                      (128, 1212)    logits/kernel
      softmax_b                      (1212,)        logits/bias

    step    cost   global norm   after clipping
       1   142.0          2.77             2.77
       2   134.9          3.02             3.02
       3   125.6          3.75             3.75
       4   161.1         67.56             5.00

    gradient in step 4                shape           norm   clipped
      embedding/embeddings            (1200, 200)     0.19     0.014
      lstm_0/kernel                   (200, 1024)     0.79     0.059
      lstm_0/recurrent_kernel         (256, 1024)     7.98     0.591
      lstm_0/bias                     (1024,)         6.76     0.501
      lstm_1/kernel                   (256, 512)     12.56     0.930
      lstm_1/recurrent_kernel         (128, 512)     34.96     2.587
      lstm_1/bias                     (512,)          9.87     0.731
      logits/kernel                   (128, 1212)    52.71     3.901
      logits/bias                     (1212,)        14.07     1.042

    at learning rate 1 the optimizer's step is the clipped gradient: True
"""

import argparse

import numpy as np
import tensorflow as tf

import kerasptb

CLIP = 5.0


def path(variable):
    return variable.path.replace("lstm_cell/", "")


def print_variables(model):
    print("the original's seven trainable variables       of our nine")
    embedding, *lstms, logits = model.layers[1:]
    rows = [("embedding", embedding.embeddings.shape, [path(embedding.embeddings)])]
    for i, lstm in enumerate(lstms):
        kernel, recurrent_kernel, bias = lstm.get_weights()
        both = np.concatenate([kernel, recurrent_kernel])
        rows.append((f"cell_{i}/basic_lstm_cell/kernel", both.shape, [path(w) for w in lstm.weights[:2]]))
        rows.append((f"cell_{i}/basic_lstm_cell/bias", bias.shape, [path(lstm.weights[2])]))
    rows.append(("softmax_w", logits.kernel.shape, [path(logits.kernel)]))
    rows.append(("softmax_b", logits.bias.shape, [path(logits.bias)]))
    for name, shape, ours in rows:
        print(f"  {name:31}{tuple(shape)!s:14}", " + ".join(ours))


def main(argv=None):
    parser = argparse.ArgumentParser(description="Show variables, gradients and clipping.")
    parser.add_argument("--data", default="auto", help="auto, ptb, sample, a folder or an archive")
    corpus = kerasptb.load_corpus(parser.parse_args(argv).data)
    model = kerasptb.build_language_model(len(corpus.vocabulary), seed=1)
    print_variables(model)

    # Four steps of the training that `compile()` sets up, written out. In the fourth the gradients explode.
    variables = model.trainable_variables
    optimizer = kerasptb.optimizers.ClippedSGD(learning_rate=1.0, global_clipnorm=CLIP)
    print("\nstep    cost   global norm   after clipping")
    for step, (tokens, targets) in enumerate(kerasptb.make_dataset(corpus.train, 60, 20).take(4), start=1):
        with tf.GradientTape() as tape:
            cost = model.compute_cost(tokens, targets, training=True)
        gradients = tape.gradient(cost, [variable.value for variable in variables])
        clipped, norm = tf.clip_by_global_norm(gradients, CLIP)
        print(f"{step:4}{float(cost):8.1f}{float(norm):14.2f}{float(tf.linalg.global_norm(clipped)):17.2f}")
        before = model.get_layer("logits").kernel.numpy()
        optimizer.apply(gradients, variables)

    print(f"\n{'gradient in step 4':34}{'shape':14}{'norm':>6}{'clipped':>10}")
    for variable, *tensors in zip(variables, gradients, clipped, strict=True):
        # The gradient of the embedding is a tf.IndexedSlices: rows, and the word that each belongs to.
        gradient, small = (getattr(tensor, "values", tensor) for tensor in tensors)
        norms = f"{float(tf.norm(gradient)):6.2f}{float(tf.norm(small)):10.3f}"
        print(f"  {path(variable):32}{tuple(gradient.shape)!s:14}{norms}")

    step = before - model.get_layer("logits").kernel.numpy()
    print(
        "\nat learning rate 1 the optimizer's step is the clipped gradient:", np.allclose(step, clipped[-2], atol=1e-6)
    )


if __name__ == "__main__":
    main()
