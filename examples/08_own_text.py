"""A model of a text of your own: three files, a training into a run folder, suggestions of the next word.

The files are `train.txt`, `valid.txt` and `test.txt`: UTF-8, a sentence a line, words separated by spaces. Without
`--data` the script writes a little text itself, sentences such as "the dogs near the old cat sleep": the verb must
agree with the first noun, not with the nearest one. The grammar's own perplexity is known; no model can go below it.

Prints, on that text:

    perplexity of the grammar: 2.30
    perplexity after 6 epochs: 2.31 on the test text
    the                         bird 0.15  dog 0.15  dogs 0.14  horse 0.13  cats 0.12
    the dog                     near 1.00  eats 0.00  sleeps 0.00  runs 0.00  sings 0.00
    the dogs near the old cat   sleep 0.27  eat 0.25  run 0.25  sing 0.23  eats 0.00
    the dog near the old cats   eats 0.37  sings 0.24  runs 0.20  sleeps 0.18  run 0.00
"""

import argparse
import math
import random
import tempfile
from pathlib import Path

import kerasptb

NOUNS = ("cat", "dog", "bird", "horse")
VERBS = ("sleep", "run", "sing", "eat")
TEXTS = ("the", "the dog", "the dogs near the old cat", "the dog near the old cats")


def write_text(folder):
    """Writes the three files, and returns the perplexity of the grammar."""
    choose = random.Random(1)
    folder.mkdir()
    for split, num_sentences in (("train", 6000), ("valid", 500), ("test", 500)):
        lines = []
        for _ in range(num_sentences):
            subject, other = choose.choice(NOUNS), choose.choice(NOUNS)
            plural, other_plural = choose.random() < 0.5, choose.random() < 0.5
            old = "old " if choose.random() < 0.5 else ""
            verb = choose.choice(VERBS)
            lines.append(
                f"the {subject}{'s' * plural} near the {old}{other}{'s' * other_plural} {verb}{'s' * (not plural)}\n"
            )
        (folder / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
    # The entropy of a sentence is ln 8 for each noun with its number, ln 2 for "old" or not, and ln 4 for the verb;
    # "the" and "near" are certain. On average it has 6.5 words and the line's end.
    return math.exp((2 * math.log(8) + math.log(2) + math.log(4)) / 7.5)


def main(argv=None):
    parser = argparse.ArgumentParser(description="Train on a text of your own.")
    parser.add_argument("--data", help="folder with train.txt, valid.txt and test.txt (default: a text made here)")
    parser.add_argument("--out", help="run folder to keep (default: a temporary one)")
    parser.add_argument("--text", nargs="+", help="what to go on from (default for your own text: a line's beginning)")
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args(argv)

    with tempfile.TemporaryDirectory() as temporary:
        data = options.data
        if data is None:
            data = Path(temporary, "text")
            print(f"perplexity of the grammar: {write_text(data):.2f}")

        # As `kerasptb train --data FOLDER --tokens words --preset notebook --out RUN`, with a small model for a small
        # text. With larger initial weights it learns the agreement within few epochs, whatever the seed.
        run = kerasptb.train(
            data,
            "notebook",
            tokens="words",
            out=options.out or Path(temporary, "run"),
            epochs=options.epochs,
            batch_size=20,
            seed=1,
            model_arguments={"embedding_size": 32, "units": (64,), "init_scale": 0.3},
            verbose=0,
        )
        print(f"perplexity after {options.epochs} epochs: {run.metrics['test_perplexity']:.2f} on the test text")

        # As `kerasptb suggest RUN "the dogs near the old cat"`.
        run = kerasptb.load_run(run.folder)
        model = run.load_model(batch_size=1)
        for text in options.text or (TEXTS if options.data is None else [""]):
            suggestions = kerasptb.suggest(model, text, k=5)
            print(f"{text:27}", "  ".join(f"{s.word} {s.probability:.2f}" for s in suggestions))


if __name__ == "__main__":
    main()
