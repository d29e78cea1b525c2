"""Locating a model's file: each source, and each way in which it is missing."""

from __future__ import annotations

import dataclasses

import onnx
import pytest

from onnx_compress.compiler.errors import UserError
from onnx_compress.compiler.zoo.locate import locate
from onnx_compress.compiler.zoo.manifest import Draw, ZooEntry, load_manifest

ENTRY = ZooEntry(name="a", source="file", licence="", framework="", covers="", inputs={"x": Draw(shape=(1,))})


def test_short_models_need_no_cache(tmp_path):
    for entry in load_manifest():
        if entry.short:
            assert onnx.load(locate(entry, tmp_path / "no-cache", tmp_path)).graph.node


def test_a_file_next_to_the_manifest_is_found(tmp_path):
    entry = dataclasses.replace(ENTRY, base=tmp_path, member="a.onnx")
    with pytest.raises(UserError, match=r".*a\.onnx is missing"):
        locate(entry, tmp_path, tmp_path)
    (tmp_path / "a.onnx").touch()
    assert locate(entry, tmp_path, tmp_path) == tmp_path / "a.onnx"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "wheel"}, "fetch it first: onnx-compress zoo fetch"),
        ({"source": "installed", "package": "no_such_package"}, "package no_such_package is not installed"),
        (
            {
                "source": "installed",
                "package": "onnx",
                "member": "backend/test/data/light/light_squeezenet.onnx",
                "sha256": "0" * 64,
            },
            "is missing or differs from the manifest's",
        ),
    ],
)
def test_a_missing_file_is_reported_in_one_line(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        locate(dataclasses.replace(ENTRY, **changes), tmp_path, tmp_path)
