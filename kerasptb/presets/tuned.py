"""The best that a search found within the notebook's parameters and epochs."""

from kerasptb.presets.preset import Preset

TUNED = Preset(
    name="tuned",
    summary=(
        "The best that `kerasptb tune` found within the notebook's parameters and epochs: one layer, tied "
        "embeddings, dropout; 3,554,704 parameters; on PTB valid perplexity 93.7 and test 89.9 after 15 epochs "
        "in bfloat16. Beside other work, the 23,235 steps took 16 minutes on one core with AMX."
    ),
    embedding_size=288,
    units=(288,),
    batch_size=20,
    num_steps=30,
    keep_prob=0.6,
    init_scale=0.0427641,
    learning_rate=1.00043,
    constant_epochs=8,
    decay=0.4,
    global_clipnorm=3.81239,
    epochs=15,
    tie_embeddings=True,
)
