"""Characters: two layers of 640, for a text that is read byte by byte.

5,444,864 parameters with the 256 bytes. PTB by characters is a benchmark of its own (Mikolov et al., 2012, "Subword
Language Modeling with Neural Networks"): a sentence's words with a space between them, and the line's end. Trained as
`small`, with less dropout: a character says less than a word, and there are five times as many.

    kerasptb train --preset characters --data ptb
"""

from kerasptb.presets import auto, small

MODEL = {
    "embedding_size": 128,
    "units": (640, 640),
    "batch_size": 32,
    "num_steps": 100,
    "init_scale": 0.05,
    "variational_dropout": True,
    "input_dropout": 0.0,
    "hidden_dropout": 0.15,
    "output_dropout": 0.15,
    "recurrent_kernel_dropout": 0.15,
}
EPOCHS = 14
TOKENS = "characters"
PRECISION = "bfloat16"
training = small.training


def sized(num_tokens, num_steps):
    """Returns the model's arguments for a training text of so many characters in rows of so many, a dict."""
    return auto.sized(num_tokens, num_steps, MODEL["batch_size"])
