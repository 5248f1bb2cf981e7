"""Files as an attacker, or a disk, may make them: `python tests/fuzz/files.py TARGET [-max_total_time=60] [CORPUS]`.

Whatever they hold, reading them may raise only errors that say what was expected, in bounded time and memory.
"""

import contextlib
import functools
import io
import runpy
import shutil
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["kerasptb.data", "kerasptb.runs", "kerasptb.serving.state_token", "tarfile"]):
    import kerasptb
    from kerasptb.data import DataError, Subwords, Vocabulary, load_corpus
    from kerasptb.data.tokenizers.sentence_piece import _model_class, convert
    from kerasptb.keyboard import Memory
    from kerasptb.run import load_run
    from kerasptb.runs import RunError
    from kerasptb.serving.errors import StateError
    from kerasptb.serving.state_token import decode_state, encode_state

FOLDER = Path(tempfile.mkdtemp(prefix="kerasptb-fuzz-"))
WORDS = Vocabulary(["one", "<unk>"])
EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "13_tf1_checkpoint.py"))
TEXTS = {"train.txt": b"one two <unk>\n" * 9, "valid.txt": b"one\n" * 9, "test.txt": b"two one\n" * 9}


def vocabulary(data):
    """A file of words."""
    path = FOLDER / "vocabulary.txt"
    path.write_bytes(data)
    try:
        words = Vocabulary.load(path).words
    except DataError:
        return
    assert all(word.split() == [word] for word in words)


def tokenizer(data):
    """A tokenizer.json or a SentencePiece model of which some bytes are changed; what is taken cuts a text."""
    provider = atheris.FuzzedDataProvider(data)
    content = bytearray(provider.PickValueInList(_tokenizers()))
    for _ in range(provider.ConsumeIntInRange(0, 20)):
        content[provider.ConsumeIntInRange(0, len(content) - 1)] = provider.ConsumeIntInRange(0, 255)
    path = FOLDER / "tokenizer"
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        ids = Subwords.load(path).encode("One two, d\u00e9j\u00e0 <0xZZ>\n two")
        assert ids.min(initial=0) >= 0


@functools.cache
def _tokenizers():
    lines = ["one two three", "two one", "d\u00e9j\u00e0 two"] * 3
    trained = Subwords.train(lines, 270)
    trained.save(FOLDER / "tokenizer")
    pieces = [("<unk>", 2), ("</s>", 3), ("\u2581", 1), ("\u2581one", 1), ("<0xZZ>", 1)]
    pieces += [(f"<0x{byte:02X}>", 6) for byte in range(256)]
    made = [(FOLDER / "tokenizer").read_bytes()]
    for kind in (1, 2):  # unigrams, byte pairs
        model = _model_class()()
        for text, of_type in pieces:
            model.pieces.add(text=text.encode(), score=-len(text), type=of_type)
        model.trainer.model_type, model.trainer.byte_fallback = kind, True
        model.normalizer.precompiled_charsmap = b"\x10\0\0\0" + bytes(20)
        made.append(model.SerializeToString())
        model.ClearField("normalizer")
        made += [model.SerializeToString(), convert(model.SerializeToString()).encode()]
    return made


def text(data):
    """Three texts."""
    provider = atheris.FuzzedDataProvider(data)
    for name in TEXTS:
        (FOLDER / name).write_bytes(provider.ConsumeBytes(provider.ConsumeIntInRange(0, 200)))
    try:
        corpus = load_corpus(FOLDER, vocabulary_size=provider.PickValueInList([None, 3, 10]))
    except DataError:
        return
    for ids in (corpus.train, corpus.valid, corpus.test):
        assert 0 <= ids.min() <= ids.max() < len(corpus.vocabulary)


def archive(data):
    """A tar or a zip file; half the time a sound one of which some bytes are changed."""
    provider = atheris.FuzzedDataProvider(data)
    content = bytearray(provider.PickValueInList(_archives()))
    if provider.ConsumeBool():
        for _ in range(provider.ConsumeIntInRange(0, 20)):
            content[provider.ConsumeIntInRange(0, len(content) - 1)] = provider.ConsumeIntInRange(0, 255)
    else:
        content = provider.ConsumeBytes(10_000)
    path = FOLDER / "archive"
    path.write_bytes(content)
    with contextlib.suppress(DataError, FileNotFoundError):
        load_corpus(path)


def _archives():
    made = []
    for mode in ("w", "w:gz", "w:bz2", "w:xz"):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode=mode) as tar:
            for name, content in TEXTS.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        made.append(file.getvalue())
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in TEXTS.items():
            zipped.writestr(name, content)
    return [*made, file.getvalue()]


def _make_run():
    for name, content in TEXTS.items():
        (FOLDER / name).write_bytes(content)
    kerasptb.train(
        FOLDER, out=FOLDER / "sound", epochs=1, units=3, embedding_size=2, batch_size=2, num_steps=3, seed=1, verbose=0
    )


def run(data):
    """A run folder of which one file is changed."""
    if not (FOLDER / "sound").exists():
        _make_run()
    provider = atheris.FuzzedDataProvider(data)
    names = sorted(path.name for path in (FOLDER / "sound").iterdir() if path.is_file())
    name = provider.PickValueInList(names)
    copy = FOLDER / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(FOLDER / "sound", copy)
    content = bytearray((copy / name).read_bytes())
    for _ in range(provider.ConsumeIntInRange(1, 20)):
        content[provider.ConsumeIntInRange(0, len(content) - 1)] = provider.ConsumeIntInRange(0, 255)
    (copy / name).write_bytes(content[: provider.ConsumeIntInRange(0, len(content))])
    try:
        found = load_run(copy)
        _ = found.history, found.metrics
        found.load_model()
    except (RunError, DataError, ValueError):
        pass


def checkpoint(data):
    """A TensorFlow 1 checkpoint."""
    provider = atheris.FuzzedDataProvider(data)
    for suffix in (".index", ".data-00000-of-00001"):
        (FOLDER / f"model.ckpt{suffix}").write_bytes(provider.ConsumeBytes(provider.ConsumeIntInRange(0, 2000)))
    with contextlib.suppress(ValueError, FileNotFoundError):
        EXAMPLE["load_tf1_checkpoint"](FOLDER / "model.ckpt")


def token(data):
    """The state that a client sends."""
    provider = atheris.FuzzedDataProvider(data)
    fingerprint = "ab" * 8
    sent = provider.ConsumeUnicode(400)
    if provider.ConsumeBool():
        memory = Memory(["the", "zebra", "gnu"]) if provider.ConsumeBool() else None
        sent = list(encode_state([0.5] * 8, fingerprint, memory))
        for _ in range(provider.ConsumeIntInRange(0, 4)):
            sent[provider.ConsumeIntInRange(0, len(sent) - 1)] = chr(provider.ConsumeIntInRange(0, 300))
        sent = "".join(sent)
    try:
        state, memory, _ = decode_state(sent, fingerprint, 8)
    except StateError:
        return
    assert state.shape == (8,)
    assert abs(state).max() <= 1e6
    if memory is not None:
        of_model, shares = memory.shares
        assert of_model + shares.sum() < 1.01


TARGETS = (vocabulary, tokenizer, text, archive, run, checkpoint, token)

if __name__ == "__main__":
    target = {each.__name__: each for each in TARGETS}[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
