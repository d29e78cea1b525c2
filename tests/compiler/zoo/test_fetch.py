"""Downloading, with the real pip on a folder of wheels built here: no test needs the network."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile

import pytest

from onnx_compress.compiler.errors import OutputError, UserError
from onnx_compress.compiler.zoo import fetch
from onnx_compress.compiler.zoo.manifest import Draw, ZooEntry

MEMBER = b"the model"


def digest(content):
    return hashlib.sha256(content).hexdigest()


def entry(**changes):
    given = {
        "name": "toy", "source": "wheel", "package": "toy-model", "version": "1.0", "licence": "MIT",
        "framework": "none", "covers": "nothing", "inputs": {"x": Draw(shape=(1,))},
        "archive": "toy_model-1.0-py3-none-any.whl", "member": "toy_model/a.onnx", "sha256": digest(MEMBER),
    }  # fmt: skip
    return ZooEntry(**{**given, **changes})


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A folder with one wheel, the only one that pip finds."""
    wheel = tmp_path / "shop" / "toy_model-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as out:
        out.writestr("toy_model/a.onnx", MEMBER)
        out.writestr("toy_model/b.onnx", MEMBER + b" b")
        out.writestr("toy_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy-model\nVersion: 1.0\n")
        out.writestr("toy_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        out.writestr("toy_model-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    return digest(wheel.read_bytes())


def test_members_arrive_once_and_are_not_fetched_again(tmp_path, shop, monkeypatch):
    cache, lines = tmp_path / "cache", []
    two = [
        entry(archive_sha256=shop),
        entry(name="toy-b", member="toy_model/b.onnx", sha256=digest(MEMBER + b" b"), archive_sha256=shop),
    ]
    done = fetch.fetch(two, cache, lines.append)
    assert [f.path.read_bytes() for f in done] == [MEMBER, MEMBER + b" b"]
    assert lines == ["downloading toy-model==1.0"], "one package, one download"
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: pytest.fail("a second call reached for the network"))
    assert [f.downloaded for f in fetch.fetch(two, cache)] == [False, False]
    assert sorted(p.name for p in cache.iterdir()) == ["toy-b.onnx", "toy.onnx"], "nothing is left behind"


def test_a_damaged_file_in_the_cache_is_replaced(tmp_path, shop):
    (tmp_path / "toy.onnx").write_bytes(b"half a mod")
    assert fetch.fetch([entry(archive_sha256=shop)], tmp_path)[0].downloaded
    assert (tmp_path / "toy.onnx").read_bytes() == MEMBER


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"archive_sha256": "0" * 64}, "its sha256 differs"),
        ({"sha256": "0" * 64}, "the sha256 of toy_model/a.onnx differs from the manifest's"),
        ({"member": "toy_model/c.onnx"}, "has no toy_model/c.onnx"),
        ({"version": "2.0"}, r"toy-model==2.0 can't be downloaded \(No matching distribution"),
    ],
)
def test_wrong_digests_and_members_are_refused_in_one_line(tmp_path, shop, changes, message):
    cache = tmp_path / "cache"
    with pytest.raises(UserError, match=message) as caught:
        fetch.fetch([entry(**{"archive_sha256": shop, **changes})], cache)
    assert "\n" not in str(caught.value)
    assert list(cache.iterdir()) == []


def test_a_bomb_is_not_unpacked(tmp_path, shop, monkeypatch):
    monkeypatch.setattr(fetch, "MEMBER_LIMIT", 4)
    with pytest.raises(UserError, match="claims 9 bytes"):
        fetch.fetch([entry(archive_sha256=shop)], tmp_path / "cache")


def test_the_cache_must_be_a_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="can't create the cache folder"):
        fetch.fetch([entry()], tmp_path / "file" / "cache")
