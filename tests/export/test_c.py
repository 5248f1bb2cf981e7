"""A model in C, beside the same in Python."""

import ctypes
import json
import math
import random
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import reader_in_eight_bits
from small_readers import TEXTS as USUAL_TEXTS

from benchmarks.c_model import CModel, compile_model
from kerasptb.data import Subwords, Vocabulary
from kerasptb.data.signs import absent_signs
from kerasptb.data.text_format import TextFormat
from kerasptb.data.tokenizers.prefixes import fold_case
from kerasptb.export import c as c_format
from kerasptb.export import export_c
from kerasptb.keyboard import Keyboard, Writer
from kerasptb.keyboard.channel import Taps
from kerasptb.keyboard.tapped import MARGIN
from kerasptb.models import LanguageModel
from kerasptb.models.weights import save_weights
from kerasptb.reading import run_search
from kerasptb.reading.reader import open_reader
from kerasptb.run import load_run
from kerasptb.runs.files import WORDS
from kerasptb.runs.words import load_words
from kerasptb.utils.errors import ExportError

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")

TEXTS = (
    *USUAL_TEXTS,
    "(“Once” upon—a ‘time’… said U.S. and/or",
    "1,234 3.5-6 x.5 ½ ٣ U.S., (Don’t) 'n'T n't' $5 & ''s \x85 ΟΔΟΣ İI",
    "the ca",
    "Once up",
    " t",
    "it's the cat's, we'll 's 'll don",
    "the cat’s",
    "e\u0301 é \xff",
    "the ΠΡΟΣ",
)
SIGNS = "“”’—"  # those that the text of the models has
KINDS = ("words", "subwords", pytest.param("characters", marks=pytest.mark.slow))


def _model(kind, vocabulary, subwords):
    tokenizer = {"words": vocabulary, "subwords": subwords, "characters": Subwords.characters()}[kind]
    shape = {
        "words": {"units": (11, 9), "init_scale": 1.0},
        "subwords": {"units": (40, 24), "tie_embeddings": True, "projection": True, "init_scale": 1.0},
        "characters": {"units": 70, "init_scale": 0.3},  # a larger one is chaotic: it makes much of little
    }[kind]
    text_format = TextFormat(tokenizer=tokenizer, absent_signs=absent_signs([SIGNS]))
    return LanguageModel(len(tokenizer), 8, batch_size=1, num_steps=5, seed=4, tokenizer=text_format, **shape)


@pytest.fixture(scope="module", params=KINDS)
def model(request, vocabulary, subwords):
    return _model(request.param, vocabulary, subwords)


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("c") / "model"
    return CModel(compile_model(export_c(model, folder, float32=True), "-O1"))


@pytest.fixture(scope="module")
def tapped(model, make_run, tmp_path_factory):
    """The same of a run whose words are known, and these."""
    folder = tmp_path_factory.mktemp("c")
    tokenizer = model.tokenizer
    run = make_run(folder / "run", tokenizer, model.get_config(), data={"tokens": tokenizer.kind})
    save_weights(model, run.weights_path("best"))
    (run.folder / WORDS).write_text("once upon a time the cat sat on mat ran quick mp3 café")
    return CModel(compile_model(export_c(run, folder / "model", float32=True), "-O1")), load_words(run)


@pytest.fixture(scope="module")
def reader(model):
    return open_reader(model)


def keys(reader, text, k=3):
    """Returns the words on the keys, in Python, and the probability of their beginning."""
    writer = Writer(reader.tokenizer)
    typed = writer.split(text)
    found = run_search(writer.keys(reader.read_typed(typed.whole), typed.prefix, k, typed.begins), reader.after)
    return found.words, found.prefix_probability


def keys_in_c(c, text, k=3):
    whole, _, _ = c.split(text)
    return c.suggest(c_context(c, whole), k)


def c_context(c, whole):
    context = c.begin()
    c.read(context, c.encode(whole))
    return context


@pytest.mark.parametrize("text", TEXTS)
def test_texts_are_read_as_in_python(exported, reader, text):
    read = reader.text_format.signs.read(text)
    assert exported.read_signs(text) == read
    typed = Writer(reader.tokenizer).split(read)
    assert exported.split(read) == (typed.whole, fold_case(typed.prefix), typed.begins)
    ids = reader.tokenizer.encode_typed(typed.whole)[1:]
    np.testing.assert_array_equal(exported.encode(typed.whole), ids)
    found = exported.read(exported.begin(), ids)
    np.testing.assert_allclose(found, reader.read_typed(typed.whole).log_probabilities, rtol=0, atol=1e-5)


@pytest.mark.parametrize("text", TEXTS)
def test_the_same_words_are_on_the_keys(exported, reader, text):
    found, total = keys_in_c(exported, reader.text_format.signs.read(text))
    words, expected_total = keys(reader, reader.text_format.signs.read(text))
    assert [word for word, _ in found] == [word for word, _ in words]
    np.testing.assert_allclose([value for _, value in found], [value for _, value in words], rtol=1e-4, atol=1e-9)
    assert total == pytest.approx(expected_total, rel=1e-4)


def readings(reader, lexicon, text, points, k=3):
    """Returns what a text's last word may be, typed with errors, in Python, and what should be written instead."""
    writer, channel = Writer(reader.tokenizer), Keyboard("qwerty")
    typed = writer.split(text)
    context, taps = reader.read_typed(typed.whole), Taps.at(typed.prefix.strip(), points)
    how = {"begins": typed.begins, "lexicon": lexicon}
    found = run_search(writer.readings(context, taps, channel, k, whole=False, **how), reader.after)
    odds = math.exp(MARGIN)
    whole = run_search(writer.readings(context, taps, channel, 1, whole=True, least_odds=odds, **how), reader.after)
    return found, "" if whole.corrected() == whole.literal else whole.corrected()


# Letters and points; of the words some are known, so that the others are less likely.
TYPED = [
    "the cat sat on the mst",
    "the cst",
    "teh",
    "the qyick",
    "Onve",
    "a timr",
    "it's the ca",
    "the catsat",
    "(tje",
    "it \"'tis",
    "an mp3",
    "the mp4",
    "the caf\u00e9",
    "the caf\u0435",
]


@pytest.mark.parametrize("text", TYPED)
@pytest.mark.parametrize("with_points", [False, True])
def test_words_typed_with_errors_are_those_of_python(model, reader, tapped, text, with_points):
    c, lexicon = tapped
    text = reader.text_format.signs.read(text)
    whole, prefix, _ = c.split(text)
    letters, points = text[-len(prefix.strip()) :], None
    if with_points:
        keyboard = Keyboard("qwerty").layout
        points = keyboard.centres[[max(keyboard.key_of(letter), 0) for letter in letters]] + np.array([0.2, -0.1])
    context = c.begin()
    c.read(context, c.encode(whole))
    words, correction = c.suggest_typos(context, 3, points=points)
    expected, corrected = readings(reader, lexicon, text, points)
    assert [word for word, _ in words] == [word for word, _ in expected.words]
    np.testing.assert_allclose([p for _, p in words], [p for _, p in expected.words], rtol=5e-3)
    assert correction == corrected


def test_errors_are_corrected_where_no_token_stands_for_other_words(tmp_path):
    vocabulary = Vocabulary(["the", "cat", "of", "<eos>"])
    model = LanguageModel(4, 8, 8, batch_size=1, num_steps=5, seed=1, tokenizer=vocabulary)
    c = CModel(compile_model(export_c(model, tmp_path / "model", float32=True), "-O1"))
    c.split("tge")
    words, correction = c.suggest_typos(c.begin(), 3)
    assert words[0][0] == correction == "the"


# Characters of newer versions of Unicode are letters to some libraries only, and four separators white space to some.
CHARACTERS = st.characters(exclude_categories=["Cs", "Cn", "Co"], exclude_characters="İΣ\x1c\x1d\x1e\x1f")


@settings(max_examples=60)
@given(text=st.text(CHARACTERS | st.sampled_from(" '’-.\nnN't$U5")))
def test_any_text_is_read_so(exported, reader, text):
    read = reader.text_format.signs.read(text)
    assert exported.read_signs(text) == read
    typed = Writer(reader.tokenizer).split(read)
    assert exported.split(read) == (typed.whole, fold_case(typed.prefix), typed.begins)
    np.testing.assert_array_equal(exported.encode(read), reader.tokenizer.encode_typed(read)[1:])


def test_a_greek_word_in_capitals_is_that_in_small_letters(tmp_path):
    vocabulary = Vocabulary(["της", "σας", "<unk>", "<eos>"])
    model = LanguageModel(4, 8, (8,), batch_size=1, num_steps=5, seed=1, tokenizer=vocabulary)
    c = CModel(compile_model(export_c(model, tmp_path / "model", float32=True), "-O1"))
    np.testing.assert_array_equal(c.encode("ΤΗΣ Σας ΣΑΣ Σ"), [0, 1, 1, 2])
    np.testing.assert_array_equal(vocabulary.encode_typed("ΤΗΣ Σας ΣΑΣ Σ")[1:], [0, 1, 1, 2])


def test_eight_bits_are_those_of_a_run(model, reader, tmp_path):
    c = CModel(compile_model(export_c(model, tmp_path / "model"), "-O1"))
    in_eight_bits = reader_in_eight_bits(model, tmp_path / "weights.npz")
    expected = in_eight_bits.read_typed("the cat sat").log_probabilities
    found = c.read(c.begin(), reader.tokenizer.encode_typed("the cat sat")[1:])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)
    assert np.abs(expected - reader.read_typed("the cat sat").log_probabilities).max() > 5e-4


def test_no_more_is_written_than_there_is_room_for(exported):
    text, tokens = b"the cat sat on the mat", np.full(4, -5, "int32")
    pointer = ctypes.c_void_p(tokens.ctypes.data)
    size = exported._c.lm_encode(exported._model, text, ctypes.c_size_t(len(text)), pointer, ctypes.c_size_t(3))
    assert size == len(exported.encode(text)) > 3
    assert tokens[:3].tolist() == exported.encode(text)[:3].tolist()
    assert tokens[3] == -5


def test_the_program_suggests_for_each_line(model, reader, tmp_path):
    folder = export_c(model, tmp_path / "a *? name\nof 2", float32=True)
    assert "extern const lm_model lm_model_of_a____name_of_2;" in (folder / "model.h").read_text()
    subprocess.run(["cc", "-o", "suggest", "main.c", "model.c", "core.c", "-lm"], check=True, cwd=folder)
    lines = ["the ca", "Once upon a ", ""]
    run = subprocess.run(
        [folder / "suggest"], input="\n".join([*lines, ""]), capture_output=True, text=True, check=True
    )
    for text, block in zip(lines, run.stdout.split("\n\n"), strict=False):
        words, total = keys(reader, text)
        given = total if text == "the ca" else 1.0
        assert [line.split() for line in block.splitlines()] == [[word, f"{p / given:.4f}"] for word, p in words]


def test_what_cannot_be_in_c_is_told(model, subwords, tmp_path, monkeypatch):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(ExportError, match="Expected a new or empty folder"):
        export_c(model, tmp_path / "taken")
    rules = json.loads(subwords._content) | {"normalizer": {"type": "NFC"}}
    other = Subwords(json.dumps(rules))
    unknown = LanguageModel(len(other), 8, 9, batch_size=1, num_steps=5, tokenizer=other)
    with pytest.raises(ExportError, match="others' rules are not in C"):
        export_c(unknown, tmp_path / "new")
    monkeypatch.setattr(c_format, "_MOST_NUMBERS", 100)
    with pytest.raises(ExportError, match=r"at most 100 weights.* Received: [\d,]{3,}$"):
        export_c(model, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken"]


TWO_MODELS = """
#include "words/model.h"
extern const lm_model lm_model_of_letters;
int32_t num_tokens(int i) { return (i ? &lm_model_of_letters : &LM_MODEL)->num_tokens; }
"""


def test_two_models_live_in_one_program(tmp_path):
    for name, size in (("words", 3), ("letters", 256)):
        tokenizer = Vocabulary(["a", "b", "<unk>"]) if name == "words" else Subwords.characters()
        export_c(LanguageModel(size, 4, 5, batch_size=1, num_steps=5, tokenizer=tokenizer), tmp_path / name)
    (tmp_path / "two.c").write_text(TWO_MODELS)
    sources = ["two.c", "words/core.c", "words/model.c", "letters/model.c"]
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "two.so", *sources, "-lm"], check=True, cwd=tmp_path)
    library = ctypes.CDLL(str(tmp_path / "two.so"))
    assert (library.num_tokens(0), library.num_tokens(1)) == (3, 256)


IN_CPP = """
#include "model.h"
#include <cstdio>
#include <vector>
int main() {
  std::vector<double> room(LM_ROOM(2, LM_ROWS(2), LM_READS) / sizeof(double) + 1);
  std::vector<float> state(LM_STATE_SIZE), next(LM_VOCABULARY_SIZE);
  const lm_context context{state.data(), next.data()};
  lm_search* search = lm_open(room.data(), &LM_MODEL, 2, LM_ROWS(2), LM_READS);
  lm_typed typed;
  lm_word words[2];
  lm_split(&LM_MODEL, "t", 1, &typed);
  lm_begin(search, &context);
  for (int i = lm_suggest(search, &context, &typed, 2, words); i-- > 0;) std::puts(words[i].text);
}
"""


@pytest.mark.skipif(not shutil.which("g++"), reason="there is no g++")
def test_a_host_in_cpp(tmp_path):
    vocabulary = Vocabulary(["<eos>", "<unk>", "the", "cat", "to"])
    folder = export_c(LanguageModel(5, 4, 5, batch_size=1, num_steps=5, tokenizer=vocabulary), tmp_path / "model")
    (folder / "host.cc").write_text(IN_CPP)
    subprocess.run(["cc", "-c", "core.c", "model.c"], check=True, cwd=folder)
    strict = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([*strict, "-o", "host", "host.cc", "core.o", "model.o", "-lm"], check=True, cwd=folder)
    words = subprocess.run([folder / "host"], capture_output=True, text=True, check=True).stdout.split()
    assert sorted(words) == ["the", "to"]


def test_words_of_any_bytes(tmp_path):
    tokenizer = Vocabulary(["<eos>", "<unk>", "a\0b", '"\\', "*/", "é", "??/"])
    model = LanguageModel(7, 4, 5, batch_size=1, num_steps=5, tokenizer=tokenizer)
    c = CModel(compile_model(export_c(model, tmp_path / "model"), "-O1"))
    assert c.encode('a\0b "\\ */ É ??/ z').tolist() == [2, 3, 4, 5, 6, 1]
    c.split("*")
    assert [word for word, _ in c.suggest(c.begin(), 3)[0]] == ["*/"]


def test_without_line_ends_all_words_are_alike_before_a_text(tmp_path):
    model = LanguageModel(3, 4, 5, batch_size=1, num_steps=5, tokenizer=Vocabulary(["a", "b", "<unk>"]))
    c = CModel(compile_model(export_c(model, tmp_path / "model"), "-O1"))
    c.split("")
    assert c.suggest(c.begin(), 3)[0] == [("a", pytest.approx(1 / 3)), ("b", pytest.approx(1 / 3))]


COMPILERS = {
    "gcc": ("gcc",),
    "clang": (sys.executable, "-m", "ziglang", "cc"),
    "32 bits": (sys.executable, "-m", "ziglang", "cc", "-target", "x86-linux-musl"),
    "Arm": (sys.executable, "-m", "ziglang", "cc", "-target", "arm-linux-musleabihf"),
    "sanitizers": ("gcc", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPILERS)
def test_compilers_agree_and_nothing_is_read_outside_arrays(name, exported, model, tmp_path):
    command = COMPILERS[name]
    if "ziglang" in command and not find_spec("ziglang"):
        pytest.skip("ziglang is not installed")
    emulator = ["qemu-arm"] if name == "Arm" else []
    if emulator and not shutil.which("qemu-arm"):
        pytest.skip("there is no qemu-arm")
    folder = export_c(model, tmp_path / "model")
    shutil.copy(Path(__file__).with_name("fuzz_model.c"), folder)
    strict = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O2"]
    sources = ["fuzz_model.c", "model.c", "core.c", "-lm"]
    subprocess.run([*command, *strict, "-o", "fuzz", *sources], check=True, cwd=folder)
    num_texts = "300" if name != "sanitizers" else "10000" if model.tokenizer.kind == "words" else "1000"
    lines = subprocess.run([*emulator, folder / "fuzz", num_texts], capture_output=True, text=True, check=True).stdout
    subprocess.run(["cc", "-O3", "-o", "native", *sources], check=True, cwd=folder)
    native = subprocess.run([folder / "native", num_texts], capture_output=True, text=True, check=True).stdout
    found, expected = (np.array(output.split(), "float64") for output in (lines, native))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1.1e-3)  # three digits of probabilities
    assert len(set(lines.splitlines())) > 100


@pytest.mark.slow
@pytest.mark.parametrize("float32", [False, True])
def test_the_english_model_s_words_in_hundreds_of_contexts(float32, tmp_path):
    run = load_run("english")
    reader = open_reader(run.load_model(backend="keras", precision="float32"))
    c = CModel(compile_model(export_c(run, tmp_path / "model", float32), "-O3"))
    page = Path(__file__).parents[2] / "README.md"
    text, draw = reader.text_format.signs.read(page.read_text(encoding="utf-8")), random.Random(1)
    same, differences = 0, []
    for _ in range(300):
        end = draw.randrange(1, len(text))
        before = text[max(end - 150, 0) : end]
        words, _ = keys(reader, before)
        same += [word for word, _ in words] == [word for word, _ in keys_in_c(c, before)[0]]
        whole = Writer(reader.tokenizer).split(before).whole
        found = c.read(c.begin(), c.encode(whole)) if len(c.encode(whole)) else None
        if found is not None:
            differences.append(np.abs(found - reader.read_typed(whole).log_probabilities).max())
    assert same >= 299
    assert np.quantile(differences, 0.99) < (1e-5 if float32 else 1e-3)
    assert max(differences) < (1e-5 if float32 else 2e-3)  # one token of one context has 1.7e-3
