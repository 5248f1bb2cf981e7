"""Word errors of a recogniser alone, with a language model, with a trigram, and with both.

    python -m benchmarks.speech RUN FOLDER [--csv FILE]

pocketsphinx hears sentences that espeak-ng and flite speak in three voices (examples/10_rescore_speech.py). FOLDER has
`train.txt`, `dev.txt` and `test.txt`: lower-case words, a sentence a line (`--make` makes it of Jane Austen's novels:
Emma to hear, the others to train on). What was heard is kept in the folder, so that it is done once. The trigram is
KenLM's (`lmplz` and `query` on the PATH), of the same training text as the run. Weights are tuned on dev; with both
models their log probabilities have equal weights. Intervals are of 95 %, by 10,000 resamplings of the test sentences.
The table is made for both programs' voices together and for those of each, since the recogniser hears them so
differently well.
"""

import argparse
import importlib.util
import itertools
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import kerasptb
from benchmarks import machine, texts
from kerasptb.evaluation import Hypothesis, Weights, tune_weights, word_errors

_EXAMPLE = Path(__file__).parents[1] / "examples" / "10_rescore_speech.py"
_SAMPLES = 10_000
_NUM_HYPOTHESES = 1000
_NUM_SENTENCES = 75  # of dev, and of test


def example():
    """Returns the module of the example."""
    spec = importlib.util.spec_from_file_location("rescore_speech", _EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_texts(folder):
    """Writes train.txt, dev.txt and test.txt; the last two have sentences of 5 to 20 words, from all over Emma."""
    folder.mkdir(parents=True, exist_ok=True)
    novels = texts.novels()
    emma = next(novel for novel in novels if novel.startswith("EMMA"))
    train = [sentence for novel in novels if novel is not emma for sentence in sentences_of(novel)]
    heard = [sentence for sentence in sentences_of(emma) if 5 <= len(sentence.split()) <= 20]
    spread = heard[:: len(heard) // (2 * _NUM_SENTENCES)][: 2 * _NUM_SENTENCES]
    for name, lines in (("train", train), ("dev", spread[::2]), ("test", spread[1::2])):
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")


def sentences_of(text):
    """Returns the sentences of a text in lower case, without signs but apostrophes."""
    text = re.sub(r"\b(Mr|Mrs|Dr|St)\.", r"\1", re.sub(r"\s+", " ", text.replace("--", " ").replace("_", "")))
    found = []  # with "mr", as the recogniser writes it
    for sentence in re.split(r"[.!?;:]+", text):
        words = re.findall(r"[a-z]+(?:'[a-z]+)?", sentence.lower())
        if words:
            found.append(" ".join(words))
    return found


def lists_of(folder, part):
    """Returns the hypotheses of each utterance, and the references."""
    path = folder / f"heard-{part}.json"
    if not path.exists():
        from pocketsphinx import Decoder  # noqa: PLC0415

        speech = example()
        decoder, rows = Decoder(samprate=speech.RATE, loglevel="FATAL"), []
        for sentence in (folder / f"{part}.txt").read_text().splitlines():
            for voice in speech.VOICES:
                heard = speech.hear(decoder, speech.speak(sentence, voice), f"{voice}: {sentence}", _NUM_HYPOTHESES)
                rows.append([sentence, voice, [[each.text, each.score] for each in heard] or [["", 0.0]]])
        path.write_text(json.dumps(rows))
    rows = json.loads(path.read_text())
    lists = [[Hypothesis(f"{voice}: {said}", text, score) for text, score in heard] for said, voice, heard in rows]
    return lists, {f"{voice}: {said}": said for said, voice, _ in rows}


def of_run(run, lists):
    """Returns log10 of the probability of each hypothesis, by the run."""
    scored = iter(run.score([each.text for hypotheses in lists for each in hypotheses]))
    return [[next(scored).log10_probability for _ in hypotheses] for hypotheses in lists]


def of_trigram(train, lists):
    """Returns log10 of the probability of each hypothesis, by a Kneser-Ney trigram of a text."""
    with tempfile.TemporaryDirectory() as folder:
        arpa = Path(folder) / "arpa"
        with train.open() as text, arpa.open("w") as file:
            command = ["lmplz", "-o", "3", "-S", "1G", "-T", folder]
            subprocess.run(command, stdin=text, stdout=file, stderr=subprocess.DEVNULL, check=True)
        lines = "".join(f"{each.text}\n" for hypotheses in lists for each in hypotheses)
        command = ["query", "-v", "sentence", arpa]
        told = subprocess.run(command, input=lines, text=True, capture_output=True, check=True).stdout
    values = iter(float(value) for value in re.findall(r"^Total: (\S+)", told, re.MULTILINE))
    return [list(itertools.islice(values, len(hypotheses))) for hypotheses in lists]


def errors_of(lists, logs, weights, references):
    """Returns the word errors of the chosen hypothesis of each utterance, int [U]."""
    errors = []
    for hypotheses, values in zip(lists, logs, strict=True):
        words = np.array([len(each.text.split()) for each in hypotheses])
        totals = weights.totals(np.array([each.score for each in hypotheses]), np.array(values), words)
        said = references[hypotheses[0].utterance].split()
        errors.append(word_errors(said, hypotheses[int(totals.argmax())].text.split()))
    return np.array(errors)


def main(arguments=None):
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", nargs="?", help="run folder")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--make", action="store_true", help="only make the texts in the folder")
    parser.add_argument("--csv", type=Path, help="file to write the table to")
    options = parser.parse_args(arguments)
    if options.make:
        make_texts(options.folder)
        return
    run = kerasptb.load_run(options.run)
    scores, references, lists = {}, {}, {}
    for part in ("dev", "test"):
        lists[part], references[part] = lists_of(options.folder, part)
        ours, theirs = of_run(run, lists[part]), of_trigram(options.folder / "train.txt", lists[part])
        both = [[(a + b) / 2 for a, b in zip(*pair, strict=True)] for pair in zip(ours, theirs, strict=True)]
        scores[part] = {"trigram": theirs, "run": ours, "run and trigram": both}
    rows = []
    programs = {voice: voice.split()[0] for voice in example().VOICES}
    for program in ("both", *dict.fromkeys(programs.values())):
        voices = [voice for voice, of in programs.items() if program in ("both", of)]
        for row in compare(lists, scores, references, voices):
            rows.append({"voices of": program, **row})
            print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    if options.csv:
        names = dict.fromkeys(rows[1], "")
        machine.write_csv(options.csv, [names | row for row in rows])


def compare(lists, scores, references, voices):
    """Yields a row for each who chooses, of the utterances of some voices, with weights tuned on theirs.

    Args:
        lists: for dev and test, the hypotheses of each utterance; those of a sentence follow each other.
        scores: for dev and test, by who chooses, log10 of the probability of each hypothesis.
        references: for dev and test, what was said, by utterance.
        voices: names of voices.
    """
    chosen = {part: [each[0].utterance.split(": ")[0] in voices for each in lists[part]] for part in lists}
    lists = {part: list(itertools.compress(lists[part], chosen[part])) for part in lists}
    scores = {
        part: {name: list(itertools.compress(logs, chosen[part])) for name, logs in scores[part].items()}
        for part in scores
    }
    words = np.array([len(references["test"][each[0].utterance].split()) for each in lists["test"]])
    random, sentences = np.random.default_rng(1), len(words) // len(voices)
    samples = random.integers(0, sentences, (_SAMPLES, sentences))
    alone = errors_of(lists["test"], scores["test"]["run"], Weights(0.0, 0.0), references["test"])
    best = np.array(
        [
            min(word_errors(references["test"][each.utterance].split(), each.text.split()) for each in hypotheses)
            for hypotheses in lists["test"]
        ]
    )

    def by_sentence(values):
        return values.reshape(-1, len(voices)).sum(axis=1)

    def rate(errors, chosen=slice(None)):
        """Word error rates of samples of sentences, each with all its voices."""
        return (by_sentence(errors)[chosen]).sum(axis=-1) / by_sentence(words)[chosen].sum(axis=-1)

    tuned = {name: tune_weights(lists["dev"], logs, references["dev"]) for name, logs in scores["dev"].items()}
    found = {"recogniser alone": alone} | {
        name: errors_of(lists["test"], scores["test"][name], tuned[name].weights, references["test"]) for name in tuned
    }
    for name, errors in (found | {"best of the list": best}).items():
        low, high = np.percentile(rate(errors, samples), [2.5, 97.5])
        fewer = 1 - rate(errors, samples) / rate(alone, samples)
        row = {
            "chosen by": name,
            "word_errors": round(float(rate(errors)), 4),
            "low": round(low, 4),
            "high": round(high, 4),
        }
        row["fewer"] = round(float(1 - rate(errors) / rate(alone)), 4)
        row |= dict(zip(("fewer_low", "fewer_high"), np.percentile(fewer, [2.5, 97.5]).round(4).tolist(), strict=True))
        if name in tuned:
            row |= {"weight": round(tuned[name].weights.weight, 4), "bonus": round(tuned[name].weights.bonus, 5)}
        yield {**row, "utterances": len(words), "words": int(words.sum())}


if __name__ == "__main__":
    sys.exit(main())
