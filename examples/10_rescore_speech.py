"""A recogniser that others wrote, improved: a language model chooses among what it may have heard.

espeak-ng and flite speak sentences; pocketsphinx hears them, and lists its hypotheses with their scores; the run's
model scores each, and the best sum is taken. On a development set `--tune` finds how much the model counts, as
`kerasptb score --nbest --tune` does.

    apt-get install espeak-ng flite && pip install pocketsphinx      # Debian's packages, and PyPI's
    python examples/10_rescore_speech.py RUN sentences.txt

The sentences are of lower-case words without signs, one a line, and the run should be trained on such. Speech that is
synthesised is easier to hear than people's in some ways, and harder in others: it says what a model brings to this
recogniser, not how good that is.

Prints, of two sentences and one voice, with a run of Jane Austen's other novels:

    said   he had made his fortune bought his house and obtained his wife
    heard  he had made his fortune dot his house and obtained his life
    chose  he had made his fortune that his house and obtained his wife
    said   she was the youngest of the two daughters of a most affectionate indulgent father
    heard  she was the youngest of the two daughters of the most affectionate and elgin father
    chose  she was the youngest of the two daughters of the most affectionate indulgent father
    word errors in 26 words: 5 heard, 2 chosen
"""

import argparse
import io
import math
import subprocess
import sys
import tempfile
import wave
from pathlib import Path

import numpy as np

import kerasptb
from kerasptb.evaluation import Hypothesis, Weights, word_errors

RATE = 16_000  # of the recogniser's model
VOICES = ("espeak-ng en-us", "flite slt", "flite rms")


def speak(text, voice):
    """Returns the samples of a spoken text, int16 at 16,000 a second.

    Args:
        text: words.
        voice: a program, espeak-ng or flite, and one of its voices.
    """
    program, name = voice.split()
    if program == "espeak-ng":
        content = subprocess.run([program, "-v", name, "--stdout", text], capture_output=True, check=True).stdout
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "spoken.wav"
            subprocess.run([program, "-voice", name, "-t", text, "-o", path], check=True)
            content = path.read_bytes()
    with wave.open(io.BytesIO(content)) as file:
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    places = np.arange(0, len(samples), rate / RATE)
    return np.interp(places, np.arange(len(samples)), samples).astype("<i2")


def hear(decoder, samples, utterance, count=100):
    """Returns what a recogniser may have heard: `Hypothesis`es without repetition, the best first.

    Args:
        decoder: a `pocketsphinx.Decoder`.
        samples: int16 [N].
        utterance: a name of it.
        count: the most hypotheses.
    """
    decoder.start_utt()
    decoder.process_raw(samples.tobytes(), full_utt=True)
    decoder.end_utt()
    found = {}
    for heard in decoder.nbest():
        if heard is None or len(found) == count:
            break
        if heard.hypstr and heard.score > 0:
            found.setdefault(heard.hypstr, math.log10(heard.score))
    ranked = sorted(found.items(), key=lambda pair: -pair[1])
    return [Hypothesis(utterance, text, score) for text, score in ranked]


def choose(run, hypotheses, weights):
    """Returns the text of the best hypothesis with the language model of a run."""
    logs = [each.log10_probability for each in run.score([each.text for each in hypotheses])]
    words = np.array([len(each.text.split()) for each in hypotheses])
    totals = weights.totals(np.array([each.score for each in hypotheses]), np.array(logs), words)
    return hypotheses[int(totals.argmax())].text


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", help="run folder of a language model")
    parser.add_argument("sentences", type=Path, help="file of lower-case words, a sentence a line")
    parser.add_argument("--voices", nargs="+", choices=VOICES, default=list(VOICES[1:2]))
    parser.add_argument("--weight", type=float, default=0.01)
    parser.add_argument("--bonus", type=float, default=0.0)
    options = parser.parse_args(arguments)
    from pocketsphinx import Decoder  # noqa: PLC0415  (an optional package)

    run, decoder = kerasptb.load_run(options.run), Decoder(samprate=RATE, loglevel="FATAL")
    words = errors_heard = errors_chosen = 0
    for sentence in filter(None, options.sentences.read_text().splitlines()):
        for voice in options.voices:
            hypotheses = hear(decoder, speak(sentence, voice), sentence)
            if not hypotheses:
                print(f"said   {sentence}\nheard  nothing")
                continue
            chosen = choose(run, hypotheses, Weights(options.weight, options.bonus))
            print(f"said   {sentence}\nheard  {hypotheses[0].text}\nchose  {chosen}")
            words += len(sentence.split())
            errors_heard += word_errors(sentence.split(), hypotheses[0].text.split())
            errors_chosen += word_errors(sentence.split(), chosen.split())
    print(f"word errors in {words} words: {errors_heard} heard, {errors_chosen} chosen")


if __name__ == "__main__":
    sys.exit(main())
