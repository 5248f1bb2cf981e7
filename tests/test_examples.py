"""The examples print what their docstrings show."""

import contextlib
import functools
import importlib.util
import io
import math
import os
import re
import shutil
import subprocess
import zlib
from pathlib import Path

import keras
import nbclient
import nbformat
import numpy as np
import pytest

import kerasptb
from kerasptb.data import Vocabulary

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(path.name for path in EXAMPLES.glob("*.py"))
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")

# CRC-32 of the ids of the sample's training text that the docstrings' outputs were made with (Python 3.11). Other
# versions of Python carry a slightly different text.
DOCUMENTED_SAMPLE = 3269849147


@functools.cache
def run(script, *arguments):
    """Returns what a script prints."""
    spec = importlib.util.spec_from_file_location(f"example_{script[:2]}", EXAMPLES / script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with contextlib.redirect_stdout(io.StringIO()) as output:
        if script[:2] in ("01", "02"):  # they need no data, and take no arguments
            module.main()
        else:
            module.main(list(arguments))
    # A progress bar overwrites its line: only the last state counts.
    return "\n".join(line.rsplit("\r", 1)[-1].rstrip() for line in output.getvalue().splitlines())


def on_sample(script):
    """Returns what a script prints on the sample; the scripts that make a text or a checkpoint take that."""
    return run(script) if script[:2] in ("01", "02", "08", "13") else run(script, "--data", "sample")


def documented(script):
    """Returns the output that a script's docstring shows."""
    docstring = (EXAMPLES / script).read_text(encoding="utf-8").split('"""')[1]
    block = re.split(r"^Prints[^:]*:\n\n", docstring, flags=re.MULTILINE)[1]
    return "\n".join(line.removeprefix("    ") for line in block.rstrip().splitlines())


def numbers(text):
    """Returns the numbers in a text."""
    return [float(number.replace(",", "")) for number in NUMBER.findall(text)]


def line_of(output, start):
    """Returns the one line of an output that begins so."""
    (line,) = (line for line in output.splitlines() if line.strip().startswith(start))
    return line


def check_documented(script, rel, absolute, output=None):
    """Checks that an output is the documented one, words to the letter and numbers within a tolerance."""
    expected, output = documented(script), on_sample(script) if output is None else output
    without_speed = functools.partial(re.sub, r" *[\d,]+ words/s", " # words/s")
    expected, output = without_speed(expected), without_speed(output)
    assert [" ".join(NUMBER.sub("#", line).split()) for line in output.splitlines()] == [
        " ".join(NUMBER.sub("#", line).split()) for line in expected.splitlines()
    ]
    assert numbers(output) == pytest.approx(numbers(expected), rel=rel, abs=absolute)


@pytest.fixture(scope="module")
def sample():
    return kerasptb.load_corpus("sample")


@pytest.fixture
def documented_sample(sample):
    if zlib.crc32(sample.train.tobytes()) != DOCUMENTED_SAMPLE:
        pytest.skip("this Python's sample text is not the one that the docstrings' outputs were made with")


@pytest.fixture(scope="module")
def ptb():
    if not os.environ.get("KERASPTB_DATA"):
        pytest.skip("needs the Penn Treebank: set KERASPTB_DATA to its folder")
    return os.environ["KERASPTB_DATA"]


def test_the_table_of_the_examples_names_each_file():
    table = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    files = {path.name for path in EXAMPLES.iterdir() if path.is_file() and path.name != "README.md"} | {"cortex-m"}
    assert set(re.findall(r"^\| \[`(.+?)`\]", table, flags=re.MULTILINE)) == files
    assert len(SCRIPTS) == 15


def test_lstm_cell_gives_the_documented_output_and_state():
    check_documented("01_lstm_cell.py", rel=0, absolute=2e-4)
    # The golden numbers once more, where no one edits them together with the docstring.
    output, state_h, state_c, h_by_hand, c_by_hand = (
        numbers(line.split("[[")[1]) for line in run("01_lstm_cell.py").splitlines()[2:7]
    )
    assert output == pytest.approx([-0.0214, 0.3641, 0.1307, -0.0921], abs=2e-4)
    assert output == state_h == pytest.approx(h_by_hand, abs=2e-4)
    assert state_c == pytest.approx([-0.0403, 0.6770, 0.1505, -0.1576], abs=2e-4)
    assert state_c == pytest.approx(c_by_hand, abs=2e-4)


def test_stacked_cells_turn_2_3_6_into_2_3_5():
    output = run("02_stacked_cells.py")
    check_documented("02_stacked_cells.py", rel=0, absolute=2e-4)
    assert numbers(line_of(output, "input")) == [2, 3, 6]
    assert numbers(line_of(output, "first layer")) == [2, 3, 4, 2, 4, 2, 4]
    assert numbers(line_of(output, "second layer")) == [2, 3, 5, 2, 5, 2, 5]
    assert line_of(output, "step by step").endswith("True")


def test_embedding_lookup_picks_rows(sample):
    output = on_sample("03_embedding_lookup.py")
    the, unk = sample.vocabulary.word_to_id["the"], sample.vocabulary.unk_id
    ids = numbers(line_of(output, "ids"))
    assert (ids[0], ids[3], ids[4]) == (the, the, unk)
    assert numbers(line_of(output, "matrix")) == [len(sample.vocabulary), 200]
    assert numbers(line_of(output, "vectors")) == [5, 200]
    assert line_of(output, "rows of the matrix").endswith("True")
    assert line_of(output, "one-hot").endswith("True")


def check_shapes(output, vocabulary_size):
    assert numbers(line_of(output, "tokens")) == [60, 20]
    assert numbers(line_of(output, "embedding")) == [60, 20, 200]
    assert numbers(line_of(output, "lstm_0"))[1:] == [60, 20, 256]
    assert numbers(line_of(output, "lstm_1"))[1:] == [60, 20, 128]
    assert numbers(line_of(output, "logits")) == [60, 20, vocabulary_size]
    assert numbers(line_of(output, "probabilities")) == [60, 20, vocabulary_size, 1.0]
    assert "the words one further on: True" in output
    assert "rows continue in the next batch: True" in output
    cost, _, expected = numbers(line_of(output, "first cost"))
    assert expected == pytest.approx(20 * math.log(vocabulary_size), abs=0.05)
    # The weights are within 0.1 of zero, so the first probabilities are near 1 / V, not equal to it.
    assert cost == pytest.approx(expected, rel=2e-3)


def test_shapes_at_every_step_and_a_first_cost_near_20_ln_v(sample):
    check_shapes(on_sample("04_shapes.py"), len(sample.vocabulary))


def test_words_and_shapes_of_a_text_as_it_is_written(tmp_path):
    for split, repeats in (("train", 600), ("valid", 60), ("test", 60)):
        (tmp_path / f"{split}.txt").write_text("The cat (a zebra) sat.\n" * repeats)
    check_shapes(run("04_shapes.py", "--data", str(tmp_path)), 6)
    assert line_of(run("03_embedding_lookup.py", "--data", str(tmp_path), "--text", "The cat"), "read back") == (
        "read back       The cat"
    )


def test_first_cost_on_the_penn_treebank_is_near_184_2(ptb):
    output = run("04_shapes.py", "--data", ptb)
    check_shapes(output, 10000)
    assert numbers(line_of(output, "batches"))[0] == 774
    assert numbers(line_of(output, "first cost"))[0] == pytest.approx(184.2, abs=0.1)


def check_gradients(output, vocabulary_size):
    kernels = [
        numbers(line.split("kernel", 1)[1])[:2] for line in output.splitlines() if "basic_lstm_cell/kernel" in line
    ]
    assert kernels == [[456, 1024], [384, 512]]  # 200 + 256 and 256 + 128 rows
    assert numbers(line_of(output, "softmax_w"))[:2] == [128, vocabulary_size]
    steps = [numbers(line) for line in output.splitlines() if re.match(r"   \d", line)]
    assert [step for step, *_ in steps] == [1, 2, 3, 4]
    assert steps[0][1] == pytest.approx(20 * math.log(vocabulary_size), rel=2e-3)
    for _, _, norm, clipped in steps:
        assert clipped == pytest.approx(min(norm, 5.0), abs=0.011)
    assert steps[-1][2] > 50
    # The gradients' own norms make the global one, before and after the clipping.
    table = [numbers(line)[-2:] for line in output.split("gradient in step 4")[1].splitlines()[1:10]]
    assert math.hypot(*(norm for norm, _ in table)) == pytest.approx(steps[-1][2], rel=1e-3)
    assert math.hypot(*(clipped for _, clipped in table)) == pytest.approx(5.0, rel=1e-3)
    assert output.endswith("True")


def test_seven_variables_nine_gradients_and_their_clipping(sample):
    check_gradients(on_sample("05_gradients.py"), len(sample.vocabulary))


def test_gradients_of_the_penn_treebank(ptb):
    check_gradients(run("05_gradients.py", "--data", ptb), 10000)


@pytest.mark.slow
def test_epoch_prints_perplexity_and_speed_at_each_tenth(sample):
    output = on_sample("06_epoch.py")
    tenths = [numbers(line) for line in output.splitlines() if "words/s" in line]
    assert len(tenths) == 10
    assert tenths[-1][0] == 100
    assert len(sample.vocabulary) > tenths[0][1] > tenths[-1][1]
    assert all(speed > 0 for _, _, speed in tenths)
    cost, perplexity = numbers(line_of(output, "cost"))
    assert perplexity == tenths[-1][1] == pytest.approx(math.exp(cost / 20), rel=5e-3)  # the cost is rounded
    assert perplexity < 500


@pytest.mark.slow
def test_epoch_of_few_steps_on_the_penn_treebank(ptb):
    tenths = [
        numbers(line) for line in run("06_epoch.py", "--data", ptb, "--steps", "20").splitlines() if "words/s" in line
    ]
    assert len(tenths) == 10
    assert 10000 > tenths[0][1] > tenths[-1][1]


@pytest.mark.slow
def test_fit_learns():
    rows = [numbers(line) for line in on_sample("07_fit.py").splitlines()[-3:-1]]
    (_, rate, first, valid_first), (_, _, second, valid_second) = rows
    assert rate == 1.0
    assert second < 0.8 * first
    assert valid_second < valid_first
    assert numbers(on_sample("07_fit.py").splitlines()[-1])[0] < 350


@pytest.mark.slow
def test_own_text_is_learnt_to_the_perplexity_of_its_grammar():
    output = on_sample("08_own_text.py")
    of_grammar, (epochs, of_model) = (
        numbers(line_of(output, "perplexity of")),
        numbers(line_of(output, "perplexity after")),
    )
    assert of_grammar == [2.3]
    assert epochs == 6
    assert 0.98 * of_grammar[0] < of_model < 1.08 * of_grammar[0]
    verbs = {"sleep", "run", "sing", "eat"}
    # The verb agrees with the first noun; the nearer one is of the other number.
    plural, singular = line_of(output, "the dogs near the old cat"), line_of(output, "the dog near the old cats")
    assert set(plural.split()[6:14:2]) == verbs
    assert set(singular.split()[6:14:2]) == {verb + "s" for verb in verbs}
    assert sum(numbers(singular)[:4]) > 0.95
    assert line_of(output, "the dog  ").split()[2:4] == ["near", "1.00"]


@pytest.mark.slow
def test_own_text_takes_the_users_files(tmp_path):
    folder = tmp_path / "text"
    folder.mkdir()
    for split, repeats in (("train", 300), ("valid", 60), ("test", 60)):
        (folder / f"{split}.txt").write_text("uma rosa é uma rosa , e a flor é minha\n" * repeats, encoding="utf-8")
    output = run("08_own_text.py", "--data", str(folder), "--text", "uma rosa", "--out", str(tmp_path / "run"))
    assert 1 <= numbers(line_of(output, "perplexity after"))[1] < 2  # printed to two digits
    assert kerasptb.load_run(tmp_path / "run").metrics["epochs"] == 6
    # In the text "uma rosa" is followed by "é" and by "," equally often.
    assert line_of(output, "uma rosa").split()[2] in ("é", ",")


@pytest.mark.slow
def test_a_novel_becomes_one_file_that_suggests(tmp_path):
    novel = tmp_path / "novel.txt"
    novel.write_text("It was the best of times, it was the worst of times.\n\n" * 400)
    output = run(
        "11_novel.py", "--data", str(novel), "--epochs", "4", "--text", "It was the", "--out", str(tmp_path / "n.keras")
    )
    bits = numbers(line_of(output, "Test text"))[-1]
    assert 0 < bits < 0.5
    best = line_of(output, "It was the:").split()[3:]
    assert {best[0], best[2]} == {"best", "worst"}
    loaded = keras.models.load_model(tmp_path / "n.keras")
    assert kerasptb.suggest(loaded, "it was the worst of", k=1)[0].word == "times"


@pytest.mark.slow
def test_keras_traps_show():
    training, state = run("09_keras_traps.py", "--data", "sample", "--epochs", "2").split("\n\n")
    plain, mended, ours = (numbers(line)[-1] for line in training.splitlines()[1:])
    assert plain > 1.3 * mended
    assert plain > 1.3 * ours
    plain, reset, ours = (numbers(line) for line in state.splitlines()[1:])
    assert plain[0] != plain[1]
    assert plain[2] > 0.1
    assert reset[0] == reset[1]
    assert ours[0] == ours[1]
    assert reset[2] == ours[2] == 0.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "rel", "absolute"),
    [
        ("03_embedding_lookup.py", 0, 2e-4),
        ("04_shapes.py", 1e-3, 2e-3),
        # The first steps agree between machines and backends to rounding, which the fourth's long gradients amplify.
        ("05_gradients.py", 1e-2, 0.02),
        ("06_epoch.py", 3e-2, 0),
        # From there on training is chaotic: rounding alone moves an epoch's perplexity by some percent.
        ("07_fit.py", 0.2, 0),
    ],
)
@pytest.mark.usefixtures("documented_sample")
def test_documented_output(script, rel, absolute):
    output = on_sample(script)
    first_line = documented(script).splitlines()[0]
    check_documented(script, rel, absolute, output[output.index(first_line) :])


@pytest.mark.usefixtures("native_library")
@pytest.mark.slow
def test_any_keras_model_has_the_same_loss_accelerated():
    output = run("12_any_keras_model.py", "--scale", "0.01", "--only", "weather", "addition")
    found = [line.split() for line in output.splitlines()]
    assert [words[0] for words in found] == ["weather", "addition"]
    for words in found:
        before, after = float(words[2]), float(words[6])
        assert before == pytest.approx(after, abs=2e-4)
        assert before > 0


@pytest.fixture(scope="module")
def frozen_models(native_library, tmp_path_factory):
    """What the example of frozen models prints, and the folder of its programs in C."""
    folder = tmp_path_factory.mktemp("frozen")
    return run("15_frozen.py", "--to", str(folder)), folder


@pytest.mark.slow
def test_frozen_models_are_better_than_guesses_and_are_keras(frozen_models):
    printed = frozen_models[0]
    mae, guess = numbers(line_of(printed, "forecaster"))
    assert 0.08 < mae < 0.8 * guess
    assert numbers(line_of(printed, "classifier"))[0] > 0.95
    assert numbers(line_of(printed, "detector"))[0] > 0.8
    differences = [float(text) for text in re.findall(r"differs by (\S+?)(?:;|$)", printed, flags=re.MULTILINE)]
    assert len(differences) == 4
    assert max(differences) < 1e-5


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("qemu-system-arm"), reason="needs QEMU for Arm's systems")
@pytest.mark.skipif(not shutil.which("arm-none-eabi-gcc"), reason="needs a compiler for Arm's microcontrollers")
def test_a_microcontroller_forecasts(frozen_models, tmp_path):
    shutil.copytree(EXAMPLES / "cortex-m", tmp_path / "cortex-m")
    command = ["make", "--silent", "-C", tmp_path / "cortex-m", f"FORECASTER={frozen_models[1]}/forecaster", "forecast"]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=120).stdout
    found = np.array([numbers(line) for line in output.splitlines() if line.startswith("after")]) / 1000
    assert found[:, 0] == pytest.approx(np.sin(np.arange(195, 200) / 7), abs=1e-3)
    # Of a wave that it has not seen in training: the next value, or near it.
    assert found[:, 1] == pytest.approx(np.sin(np.arange(196, 201) / 7), abs=0.35)
    assert 10 < int(re.search(r"(\d+) thousand instructions a step", output)[1]) < 500


def test_each_layer_of_the_original_becomes_one_of_ours():
    check_documented("13_tf1_checkpoint.py", rel=0, absolute=0)


@pytest.fixture(scope="module")
def committed_notebook():
    return nbformat.read(EXAMPLES / "walkthrough.ipynb", as_version=4)


@pytest.fixture(scope="module")
def executed_notebook(tmp_path_factory):
    """The notebook run anew on the sample, with three epochs in place of ten."""
    notebook = nbformat.read(EXAMPLES / "walkthrough.ipynb", as_version=4)
    for cell in notebook.cells:
        cell.outputs = []
    client = nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3")
    environment = {
        **os.environ,
        "KERASPTB_WALKTHROUGH_DATA": "sample",
        "KERASPTB_WALKTHROUGH_EPOCHS": "3",
        "IPYTHONDIR": str(tmp_path_factory.mktemp("ipython")),
        "PYTHONPATH": os.pathsep.join([str(EXAMPLES.parent), os.environ.get("PYTHONPATH", "")]),
    }
    client.execute(env=environment)
    return notebook


def printed(notebook):
    """Returns what a notebook's cells print on standard output."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")


def count_pictures(notebook):
    return sum("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", []))


def errors_of(notebook):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output for output in outputs if output.get("name") == "stderr" or output.output_type == "error"]


@pytest.mark.slow
def test_notebook_runs_and_its_model_learns(executed_notebook, sample):
    assert not errors_of(executed_notebook)
    output = printed(executed_notebook)
    assert count_pictures(executed_notebook) == 3
    cost, _, expected = numbers(line_of(output, "first cost"))
    assert expected == pytest.approx(20 * math.log(len(sample.vocabulary)), abs=0.05)
    assert cost == pytest.approx(expected, rel=2e-3)
    assert numbers(line_of(output, "lstm_1   "))[1:] == [60, 20, 128]
    assert "as the original has layer 0: kernel (456, 1024), bias (1024,)" in output
    tenths = [numbers(line)[1] for line in output.splitlines() if "words/s" in line]
    assert len(tenths) == 10
    epochs, train, valid = numbers(line_of(output, "after 3 epochs"))
    assert epochs == 3
    assert train < tenths[-1] / 1.5 < len(sample.vocabulary) / 3
    assert valid < 200
    assert "the same again: True" in output
    in_streams = numbers(line_of(output, "test perplexity, 20 streams"))[1]
    # Streams that begin without a past, and a few words left out, make little difference.
    assert numbers(line_of(output, "test perplexity, every word")) == [pytest.approx(in_streams, rel=0.05)]


@pytest.mark.slow
def test_words_of_a_kind_come_together_in_the_notebook(executed_notebook):
    output = printed(executed_notebook)
    cosines = {line.split("  ")[0]: numbers(line)[1] for line in output.splitlines() if "mean cosine" in line}
    assert abs(cosines["random words"]) < 0.05
    assert cosines["modal verbs"] > 0.5
    assert cosines["forms of to be"] > 0.5


@pytest.mark.slow
@pytest.mark.usefixtures("documented_sample")
def test_notebook_prints_what_it_was_committed_with(executed_notebook, committed_notebook):
    # From the training on, the number of epochs differs.
    executed, committed = (printed(notebook).split(" 11%")[0] for notebook in (executed_notebook, committed_notebook))
    assert NUMBER.sub("#", executed) == NUMBER.sub("#", committed)
    assert numbers(executed) == pytest.approx(numbers(committed), rel=2e-2, abs=2e-4)


def test_notebook_is_committed_with_light_outputs_of_the_sample(committed_notebook, sample):
    assert (EXAMPLES / "walkthrough.ipynb").stat().st_size < 400_000
    assert count_pictures(committed_notebook) == 3
    assert not errors_of(committed_notebook)
    # The Penn Treebank may not be handed on, not in outputs either; its vocabulary has 10,000 words.
    (size,) = numbers(line_of(printed(committed_notebook), "vocabulary of V"))
    assert size == pytest.approx(len(sample.vocabulary), rel=0.2)


@pytest.mark.slow
def test_a_model_chooses_among_what_a_recogniser_heard(tmp_path):
    pytest.importorskip("pocketsphinx", reason="pocketsphinx is not installed")
    if missing := [program for program in ("espeak-ng", "flite") if shutil.which(program) is None]:
        pytest.skip(f"{' and '.join(missing)}: not installed")
    said = [
        "she was the youngest of two daughters",
        "we talked it all over last night",
        "he had made his fortune",
        "what will he be at that time of life",
        "i have not a fault to find with her",
    ]
    (tmp_path / "said.txt").write_text("\n".join(said) + "\n")
    (tmp_path / "text.txt").write_text("\n".join(said * 40))
    kerasptb.train(
        tmp_path / "text.txt", "sample", keep_lines=True, vocabulary_size=300, batch_size=2, epochs=3, verbose=0,
        seed=1, out=tmp_path / "run",
    )  # fmt: skip
    arguments = [str(tmp_path / "run"), str(tmp_path / "said.txt"), "--voices", "espeak-ng en-us", "flite slt"]

    def errors(*weights):
        lines = run("10_rescore_speech.py", *arguments, *weights).splitlines()
        assert [line.split(None, 1)[1] for line in lines[:-1:3]] == [each for each in said for _ in range(2)]
        words, heard, chosen = numbers(lines[-1])
        assert words == 2 * sum(len(each.split()) for each in said)
        return heard, chosen, lines

    heard, chosen, lines = errors("--weight", "0", "--bonus", "0")
    assert heard == chosen > 0
    assert all(a.split(None, 1)[1] == b.split(None, 1)[1] for a, b in zip(lines[1::3], lines[2::3], strict=False))
    assert errors("--weight", "2")[1] < heard  # it has read what was said


@pytest.mark.slow
def test_a_microcontroller_suggests_the_same_words(tmp_path):
    if missing := [program for program in ("arm-none-eabi-gcc", "qemu-system-arm") if shutil.which(program) is None]:
        pytest.skip(f"{' and '.join(missing)}: not installed")
    words = "<eos> <unk> The if the is a of target targets temporary value mutable name new next not object set"
    vocabulary = Vocabulary(words.split())
    model = kerasptb.LanguageModel(
        len(vocabulary), 8, (11, 9), batch_size=1, num_steps=5, init_scale=1.0, seed=4, tokenizer=vocabulary
    )
    kerasptb.export_c(model, tmp_path / "model")
    shutil.copytree(EXAMPLES / "cortex-m", tmp_path / "cortex-m")
    command = ["make", "--silent", "-C", tmp_path / "cortex-m", "MODEL=../model", "run"]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=120).stdout
    found = re.findall(r"^(\w.*):(.*)$", output, flags=re.MULTILINE)
    assert len(found) == 3
    for text, words in found:
        expected = kerasptb.suggest(model, text, 3, complete=True)
        assert words.split() == [suggestion.word for suggestion in expected], text
        assert len(expected) >= 3 - text.endswith("target")
    assert 1000 < int(re.search(r"(\d+) bytes of stack", output)[1]) < 16 * 1024


def test_surprisal_predicts_reading_times(tmp_path):
    """Times that are made of surprisals, with noise: each measure gains, the one that they are made of most."""
    stories = ["the cat that sat on the old mat was here ."] * 2 + ["a dog by the river saw what had come ."] * 2
    random, rows = np.random.default_rng(0), []
    for item, scored in enumerate(kerasptb.load_run("english").score(stories, entropy=True), start=1):
        for zone, word in enumerate(scored.by_word()[:-1], start=1):
            time = np.exp(5 + 0.05 * word["word_surprisal"] + random.normal(0, 0.01))
            rows.append((word["word"], str(zone), str(item), str(time)))
    for name in "naturalstories_RTS", "freqs":
        (tmp_path / name).mkdir()
    tables = {
        "naturalstories_RTS/all_stories.tok": [("word", "zone", "item"), *(row[:3] for row in rows)],
        "naturalstories_RTS/processed_wordinfo.tsv": [("word", "zone", "item", "gmeanItemRT"), *sorted(rows)],
        "freqs/freqs-1.tsv": [(f"{row[2]}.{row[1]}.word", "1", row[0], "7", "NA") for row in rows],
    }
    for name, table in tables.items():
        (tmp_path / name).write_text("".join("\t".join(row) + "\n" for row in table))
    head, *lines = run("14_reading_times.py", str(tmp_path)).splitlines()
    assert head == "4 stories, 42 words, 34 of them with two before them"
    gained = {line.split()[0]: float(line.split()[1]) for line in lines}
    assert list(gained) == ["surprisal", "word_surprisal"]
    assert 0 < gained["surprisal"] < gained["word_surprisal"]
