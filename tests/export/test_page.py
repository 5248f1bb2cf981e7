"""A run as a page: what is in the file, and what it is in a browser."""

import base64
import gzip
import hashlib
import json
import os
import re
import sys

import numpy as np
import pytest

from kerasptb.engine.quantized import quantize_rows
from kerasptb.export import export_page
from kerasptb.export.page import wasm
from kerasptb.runs import files
from kerasptb.utils.errors import ExportError


@pytest.fixture(scope="module")
def page(subword_model, tmp_path_factory):
    return export_page(subword_model, tmp_path_factory.mktemp("page") / "deep" / "keyboard.html")


def parts(path):
    """Returns the compressed parts of a page by their names."""
    found = re.findall(r'<script id="gzip-(\w+)" type="application/gzip">([^<]+)</script>', path.read_text("utf-8"))
    return {name: gzip.decompress(base64.b64decode(content)) for name, content in found}


def test_nothing_but_its_own_script_and_style_may_run_or_be_asked_for(page):
    text = page.read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in (script, style)]
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', text)
    assert policy.split("; ") == [
        "default-src 'none'",
        f"script-src 'sha256-{digests[0]}' 'wasm-unsafe-eval'",
        f"style-src 'sha256-{digests[1]}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    assert not re.findall(r'(?:src|href)="(?!data:)', text)
    assert not re.findall(r"^(?:import|export) ", script, re.MULTILINE)
    assert "static/" not in text


def test_what_is_in_it(page, subword_model, subwords):
    found = parts(page)
    assert list(found) == ["about", "runtime", "model"]
    about = json.loads(found["about"])
    assert about["exclude"] == ["<eos>", "<unk>"]
    assert (about["tokens"], about["vocabulary_size"], about["first"]) == ("subwords", len(subwords), " ")
    assert found["runtime"] == (wasm.FOLDER / "runtime.wasm").read_bytes()
    image = np.frombuffer(found["model"], "<i4")
    pointers, struct = image[1 : 1 + image[0]] // 4, image[1 + image[0] :]
    assert struct[:3].tolist() == [1, 0, 1]  # subwords, an LSTM, a paragraph begins with a space
    assert struct[6] == len(subwords)
    # The embeddings, which the first pointer leads to, in rows of 32.
    begin = 4 * (1 + image[0]) + struct[pointers[0]]
    rows = np.frombuffer(found["model"], "int8", 32 * len(subwords), begin).reshape(-1, 32)
    integers, _ = quantize_rows(subword_model.get_layer("embedding").embeddings.numpy())
    assert rows[:, :8].tolist() == integers.tolist()


def test_tied_weights_are_in_it_once(vocabulary, tmp_path):
    from kerasptb.models import LanguageModel

    def size(tied):
        model = LanguageModel(len(vocabulary), 64, 64, 1, 5, tie_embeddings=tied, tokenizer=vocabulary)
        return len(parts(export_page(model, tmp_path / f"{tied}.html"))["model"])

    # A matrix more, but no scale of each of its rows as an output.
    assert size(False) - size(True) == len(vocabulary) * 64 + 4 * 64


def test_files_that_exist_are_kept_and_nothing_is_beside_it(page, subword_model):
    before = page.read_bytes()
    with pytest.raises(ExportError, match=r"keyboard\.html, which exists"):
        export_page(subword_model, page)
    assert page.read_bytes() == before
    assert list(page.parent.iterdir()) == [page]
    with pytest.raises(ExportError, match=r"ends in \.html\. Received: .*page\.htm$"):
        export_page(subword_model, page.with_name("page.htm"))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_folder_s_name_that_is_no_utf_8_is_shown_as_far_as_it_is(tmp_path):
    folder = tmp_path / os.fsdecode(b"of \xff")
    folder.symlink_to(files.IN_THE_PACKAGE)
    assert "<title>of ? –" in export_page(folder, tmp_path / "of.html").read_text("utf-8")


@pytest.mark.slow
def test_the_runtime_in_the_repository_is_what_its_source_makes(tmp_path):
    pytest.importorskip("ziglang", reason="ziglang is not installed")
    wasm.build(tmp_path / "runtime.wasm")
    same = (tmp_path / "runtime.wasm").read_bytes() == (wasm.FOLDER / "runtime.wasm").read_bytes()
    assert same, "The source of the runtime has changed: make wasm"
