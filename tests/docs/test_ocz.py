"""The description of `.ocz` files holds: the reader made from it unpacks what the compiler packs."""

from __future__ import annotations

import hashlib
import importlib
import io
import re
import sys
from pathlib import Path

import pytest

from onnx_compress.compiler.storage.container import archive
from onnx_compress.compiler.storage.container.vocabulary import VOCABULARY

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "ocz"
PAGE = (ROOT / "docs" / "ocz.md").read_text(encoding="utf-8")
DICTIONARY = (FOLDER / "dictionary.bin").read_bytes()


@pytest.fixture(scope="module")
def reader():
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module("read_ocz")
    sys.path.remove(str(FOLDER))


def packed(model: bytes) -> bytes:
    out = io.BytesIO()
    archive.pack(memoryview(model), lambda _: memoryview(b""), out)
    return out.getvalue()


def example(folder: Path) -> bytes:
    """The model that the page's program writes."""
    program = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert program is not None
    code = program[1].replace('"tiny.onnx"', repr(str(folder / "tiny.onnx")))
    exec(compile(code, "ocz.md", "exec"), {})
    return (folder / "tiny.onnx").read_bytes()


def dump() -> bytes:
    """The bytes of the page's hexadecimal dump."""
    lines = re.findall(r"^[0-9a-f]{8}: ((?:[0-9a-f]{2} )+)", PAGE, re.MULTILINE)
    return bytes.fromhex("".join(lines))


def test_the_dictionary_is_that_of_the_compiler_and_of_the_page():
    assert DICTIONARY == VOCABULARY
    assert hashlib.sha256(DICTIONARY).hexdigest() in PAGE


def test_the_dump_is_the_packed_example(reader, tmp_path):
    model = example(tmp_path)
    assert reader.unpack(dump(), DICTIONARY) == (model, {})
    opened = archive.Archive(io.BytesIO(dump()), len(dump()))
    assert b"".join(opened.model()) == model


def test_the_bits_and_chances_of_the_example_are_those_of_the_page(reader, monkeypatch):
    coded = []
    read = reader.Notes.coded

    def noted(notes, chance):
        bit = read(notes, chance)
        coded.append((bit, chance))
        return bit

    monkeypatch.setattr(reader.Notes, "coded", noted)
    reader.unpack(dump(), DICTIONARY)
    rows = re.findall(r"^\| .+? \| ([01](?: [01])*) \| (\d+(?: \d+)*) \|", PAGE, re.MULTILINE)
    told = [pair for bits, chances in rows for pair in zip(bits.split(), chances.split(), strict=True)]
    assert [(int(bit), int(chance)) for bit, chance in told] == coded


def test_the_reader_knows_every_code(reader):
    golden = ROOT / "tests" / "compiler" / "storage" / "container" / "format1.ocz"
    model, files = reader.unpack(golden.read_bytes(), DICTIONARY)
    whole = hashlib.sha256(model + files["w.bin"]).hexdigest()
    assert whole == "a5e2dd7c99c21e01b4d1a723107a4ac5a09233c39f867c0f734c0752e7298a51"


def test_the_reader_unpacks_a_real_model(reader):
    model = (ROOT / "models" / "digits.onnx").read_bytes()
    assert reader.unpack(packed(model), DICTIONARY) == (model, {})
