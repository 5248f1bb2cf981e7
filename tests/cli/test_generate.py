import json

from kerasptb.cli import main


def test_generate_repeats_with_its_seed(run, capsys):
    outputs = []
    for _ in range(2):
        assert main(["generate", run, "--prompt", "one two", "--words", "12", "--seed", "5"]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]
    assert outputs[0].startswith("one two")


def test_generate_at_temperature_zero_needs_no_seed(run, capsys):
    outputs = []
    for seed in ("1", "2"):
        assert main(["generate", run, "--words", "30", "--temperature", "0", "--seed", seed]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]


def test_generate_samples_from_the_most_probable_words(run, capsys):
    outputs = []
    for limit in (["--top-k", "1"], ["--top-p", "1e-9"], ["--temperature", "0"]):
        assert main(["generate", run, "--words", "30", "--seed", "1", *limit]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] == outputs[2]


def test_generate_prints_json(run, capsys):
    asked = ["generate", run, "--prompt", "one two", "--words", "5", "--seed", "5"]
    assert main(asked) == 0
    text = capsys.readouterr().out.removesuffix("\n")
    assert main([*asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"prompt": "one two", "text": text}
