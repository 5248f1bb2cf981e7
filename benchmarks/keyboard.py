"""Keyboards side by side: our runs, an n-gram, and Presage type the same words.

    python -m benchmarks.keyboard RUN … [--words 5000] [--csv FILE] [--picture FILE]

All are trained on the training text of the first run's corpus, and type the first words of its test text with three
keys, by the rules of kerasptb/keyboard/measure/savings.py.

- The n-gram is the interpolated Kneser-Ney trigram of kerasptb/export/kneser_ney.py, with all n-grams of the text. Its
  perplexity is reported, to be compared with published ones.
- Presage (Debian's packages `presage` and `libpresage1v5`) is called through its C interface, with its smoothed
  trigrams of the training text, in a database of its own text2ngram, and its recency predictor, as it is packaged.
  It is asked for six words, of which `unk` and `n` are left out, as for the others. It splits some words otherwise
  than the Penn Treebank (`u.s.`): these it cannot suggest.
- Each run types three times: as trained; with suggestions that learn from the words typed before, as Presage's recency
  predictor does; and as a LiteRT file of 8 bits on one thread, whose calls are timed. A call reads a word and gives the
  probabilities of the next; between the letters of a word nothing is computed.
"""

import argparse
import ctypes
import dataclasses
import itertools
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import machine
from kerasptb.conversion import export_litert
from kerasptb.data import EOS, UNK, Subwords
from kerasptb.data.tokenizers.tokenizer import TypedWord
from kerasptb.data.tokenizers.written_text import is_of_word
from kerasptb.export.kneser_ney import kneser_ney
from kerasptb.keyboard import Typist, evaluate_keyboard
from kerasptb.keyboard.measure.savings import Shown, TypedCounts
from kerasptb.run import load_run

_BLOCK = 250
_CONFIGURATION = """<?xml version="1.0" encoding="UTF-8" standalone="no" ?>
<Presage>
  <PredictorRegistry><LOGGER>ERROR</LOGGER><PREDICTORS>Trigrams DefaultRecencyPredictor</PREDICTORS></PredictorRegistry>
  <ContextTracker>
    <LOGGER>ERROR</LOGGER><SLIDING_WINDOW_SIZE>80</SLIDING_WINDOW_SIZE><LOWERCASE_MODE>yes</LOWERCASE_MODE>
    <ONLINE_LEARNING>no</ONLINE_LEARNING>
  </ContextTracker>
  <Selector>
    <LOGGER>ERROR</LOGGER><SUGGESTIONS>6</SUGGESTIONS><REPEAT_SUGGESTIONS>yes</REPEAT_SUGGESTIONS>
    <GREEDY_SUGGESTION_THRESHOLD>0</GREEDY_SUGGESTION_THRESHOLD>
  </Selector>
  <PredictorActivator>
    <LOGGER>ERROR</LOGGER><PREDICT_TIME>1000</PREDICT_TIME><MAX_PARTIAL_PREDICTION_SIZE>60</MAX_PARTIAL_PREDICTION_SIZE>
    <COMBINATION_POLICY>Meritocracy</COMBINATION_POLICY>
  </PredictorActivator>
  <ProfileManager><LOGGER>ERROR</LOGGER><AUTOPERSIST>false</AUTOPERSIST></ProfileManager>
  <Predictors>
    <Trigrams>
      <PREDICTOR>SmoothedNgramPredictor</PREDICTOR><LOGGER>ERROR</LOGGER><DBFILENAME>{database}</DBFILENAME>
      <DELTAS>0.01 0.1 0.89</DELTAS><LEARN>false</LEARN><DatabaseConnector><LOGGER>ERROR</LOGGER></DatabaseConnector>
    </Trigrams>
    <DefaultRecencyPredictor>
      <PREDICTOR>RecencyPredictor</PREDICTOR><LOGGER>ERROR</LOGGER><LAMBDA>1</LAMBDA><N_0>1</N_0>
      <CUTOFF_THRESHOLD>20</CUTOFF_THRESHOLD>
    </DefaultRecencyPredictor>
  </Predictors>
</Presage>
"""


class KneserNey:
    """An interpolated Kneser-Ney trigram, whose contexts go on over the ends of lines.

    Args:
        ids: int32 [N], the training text.
        vocabulary_size: number V of words.
    """

    def __init__(self, ids, vocabulary_size):
        self._orders = kneser_ney(ids, end=-1, size=vocabulary_size, order=3, least=1, most=3 * len(ids))
        self._size = vocabulary_size + 1  # what begins the text is a word, too
        self._keys = [self._keys_of(ngrams.words) for ngrams in self._orders]
        self._contexts = [self._keys_of(ngrams.words[:, :-1]) for ngrams in self._orders]

    def probabilities(self, *before):
        """Returns the probabilities of the next word after at most two, float64 [V]."""
        row = self._orders[0].probabilities
        for n, (shorter, longer) in enumerate(itertools.pairwise(self._orders), 1):
            (context,) = self._keys_of(np.array([before[-n:]]))
            first, last = np.searchsorted(self._contexts[n], [context, context + 1])
            if first == last:
                break
            row = row * shorter.backoffs[np.searchsorted(self._keys[n - 1], context)]
            row[longer.words[first:last, -1]] = longer.probabilities[first:last]
        return row[:-1]

    def _keys_of(self, words):
        """Returns a number for each row of words; they are sorted as the n-grams are."""
        return words @ self._size ** np.arange(words.shape[1])[::-1]


def type_with_n_gram(corpus, ids):
    """Returns the `KeyboardEvaluation`, and the perplexity of the words typed."""
    model, typist, loss = KneserNey(corpus.train, len(corpus.vocabulary)), Typist(corpus.vocabulary), 0.0
    ids = ids.tolist()
    for first in range(1, len(ids), _BLOCK):
        places = range(first, min(first + _BLOCK, len(ids)))
        scores = np.stack([model.probabilities(*ids[max(t - 2, 0) : t]) for t in places])
        words = np.array([ids[t] for t in places])
        loss -= np.log(scores[np.arange(len(words)), words]).sum()
        typist.type(scores, words)
    return typist.result(), float(np.exp(loss / (len(ids) - 1)))


class Presage:
    """Presage, with its smoothed trigrams and its recency predictor.

    Args:
        database: the file of its trigrams.
        folder: where its settings may be written.
    """

    def __init__(self, database, folder):
        settings = Path(folder, "presage.xml")
        settings.write_text(_CONFIGURATION.format(database=database))
        self._library = ctypes.CDLL("libpresage.so.1")
        self._past, self._future = ctypes.create_string_buffer(4096), ctypes.create_string_buffer(1)
        give = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
        self._callbacks = [give(lambda _, text=text: ctypes.addressof(text)) for text in (self._past, self._future)]
        past, future = self._callbacks
        self._handle = ctypes.c_void_p()
        made = self._library.presage_new_with_config(
            past, None, future, None, str(settings).encode(), ctypes.byref(self._handle)
        )
        if made != 0:
            raise RuntimeError(f"Presage does not start: error {made}")

    def suggest(self, text):
        """Returns three words that may follow a text, or complete its last word, in small letters."""
        self._past.value = text.encode()[-2000:]
        words = ctypes.POINTER(ctypes.c_char_p)()
        if self._library.presage_predict(self._handle, ctypes.byref(words)) != 0:
            raise RuntimeError("Presage predicts nothing")
        found = []
        while words[len(found)]:
            found.append(words[len(found)].decode())
        self._library.presage_free_string_array(words)
        return [word for word in found if word not in ("unk", "n")][:3]


def count_trigrams(lines, folder):
    """Returns the file of the trigrams of lines of words, a database for Presage."""
    text, database = Path(folder, "train.txt"), Path(folder, "trigrams.db")
    text.write_text("\n".join(lines))
    for order in "123":
        command = ["text2ngram", "-n", order, "-l", "-a", "-f", "sqlite", "-o", str(database), str(text)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return database


def units_of_text(text):
    """Yields what stands between white space in a text, a list of `TypedWord`s each; `[]` for a line's end."""
    characters, begins = Subwords.characters(), True
    for part in characters.parts_of(characters.encode_typed(text)):
        if begins and part:  # the keys show a line's first word, too
            part[0] = dataclasses.replace(part[0], shown_from=0)
        begins = not part
        yield part


def units_of_words(words):
    """Yields the same of a text of words, each a `TypedWord` as a whole."""
    for word in words:
        yield [] if word == EOS else [TypedWord(word, word, " ", is_named=word not in (UNK, "N"))]


def type_units(parts, suggest):
    """Returns the `KeyboardEvaluation` of a text, and the seconds of each call.

    Args:
        parts: what `units_of_text` yields.
        suggest: function from the line so far to three words in small letters.
    """
    counts, seconds, line = TypedCounts(keys=3), [], ""
    for part in parts:
        if not part:
            line = ""
            continue
        shown = []
        for unit in part:
            may_be_shown = unit.is_named and (is_of_word(unit.text[0]) or not unit.shown_from)
            when = Shown(possible=may_be_shown)
            for letters in range(unit.shown_from if may_be_shown else len(unit.text), len(unit.text)):
                begin = time.perf_counter()
                words = suggest(line + unit.text[:letters])
                seconds.append(time.perf_counter() - begin)
                if unit.text.lower() in words:
                    when = Shown(None if letters else words.index(unit.text.lower()), letters, True)
                    break
            shown.append(when)
            line += unit.text
        counts.add(part, shown)
        line += " "
    return counts.result(), seconds


def type_with_presage(corpus, ids):
    """Returns the `KeyboardEvaluation`, the milliseconds of a keystroke and the bytes of its database."""
    words = corpus.vocabulary.words
    with tempfile.TemporaryDirectory() as folder:
        database = count_trigrams(" ".join(words[i] for i in corpus.train).split(EOS), folder)
        parts = units_of_words(words[i] for i in ids[1:])  # the others read the first word, too
        result, seconds = type_units(parts, Presage(database, folder).suggest)
        size = database.stat().st_size
    return result, {"milliseconds": round(1000 * float(np.mean(seconds)), 2), "bytes": size}


def type_with_litert(run, vocabulary, ids):
    """Returns the `KeyboardEvaluation` of a run's LiteRT file of 8 bits, its bytes, and quantiles of a call in ms."""
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415  (an extra)

    with tempfile.TemporaryDirectory() as folder:
        path = export_litert(run, Path(folder) / "model.tflite", quantize=True)
        size = path.stat().st_size
        step = Interpreter(str(path), num_threads=1).get_signature_runner("step")
        inputs = step.get_input_details()
        state = {name: np.zeros(each["shape"], "float32") for name, each in inputs.items() if name != "tokens"}
        typist, seconds = Typist(vocabulary), []
        for first in range(0, len(ids) - 1, _BLOCK):
            words, scores = ids[first : first + _BLOCK + 1], []
            for token in words[:-1]:
                begin = time.perf_counter()
                state = step(tokens=np.array([[token]], "int32"), **state)
                seconds.append(time.perf_counter() - begin)
                scores.append(state.pop("probabilities")[0])
            typist.type(np.stack(scores), words[1:])
    median, slowest = (round(1000 * float(each), 3) for each in np.quantile(seconds, (0.5, 0.99)))
    return typist.result(), {"bytes": size, "milliseconds": median, "milliseconds_99": slowest}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--words", type=int, default=5000, help="words of the test text that are typed (default: 5000)")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    runs = [load_run(path) for path in options.runs]
    corpus = runs[0].load_corpus()
    ids = corpus.test[: options.words + 1]
    rows = []

    def add(name, result, **more):
        rows.append({"keyboard": name, **{key: round(value, 4) for key, value in dataclasses.asdict(result).items()}})
        rows[-1] |= more
        print(name, rows[-1], flush=True)

    if shutil.which("text2ngram"):
        result, measured = type_with_presage(corpus, ids)
        add("Presage", result, **measured)
    else:
        print("Presage is not installed: apt-get install presage libpresage1v5", file=sys.stderr)
    result, perplexity = type_with_n_gram(corpus, ids)
    add("Kneser-Ney trigram", result, perplexity=round(perplexity, 2))
    for run in runs:
        model = run.load_model()
        name = run.settings.training.preset
        add(name, evaluate_keyboard(model, ids), parameters=model.count_params())
        add(f"{name}, learning", evaluate_keyboard(model, ids, learn=True))
        result, measured = type_with_litert(run, corpus.vocabulary, ids)
        add(f"{name}, LiteRT, 8 bits", result, **measured)
    if options.csv:
        names = dict.fromkeys(name for row in rows for name in row)
        machine.write_csv(options.csv, [dict.fromkeys(names, "") | row for row in rows])
    if options.picture:
        draw(rows, options.picture)
    print("; ".join(f"{name} {value}" for name, value in machine.describe().items()))


def draw(rows, path):
    """Draws the keystrokes that each saves."""
    import matplotlib  # noqa: PLC0415

    matplotlib.use("agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(7, 0.5 * len(rows) + 1.2), layout="constrained")
    values = [100 * row["keystroke_savings"] for row in rows]
    bars = axes.barh([row["keyboard"] for row in rows], values, color="#4878a8")
    axes.bar_label(bars, fmt="%.1f %%", padding=3)
    axes.axvline(100 * rows[0]["savings_ceiling"], color="grey", linestyle=":", label="each word in one keystroke")
    axes.set(xlabel="keystrokes saved, %", xlim=(0, 100))
    axes.invert_yaxis()
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1))
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
