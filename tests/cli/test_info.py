import json

import kerasptb
from kerasptb.cli import main


def test_info_says_that_a_folder_named_is_not_there(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("KERASPTB_DATA", str(tmp_path / "nowhere"))
    assert main(["info"]) == 0
    assert capsys.readouterr().out.endswith(f"{tmp_path / 'nowhere'}, which does not exist\n")


def test_info_is_one_json_object(capsys):
    assert main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["versions"]["kerasptb"] == kerasptb.__version__
    assert main(["info"]) == 0
    assert "native" in capsys.readouterr().out
