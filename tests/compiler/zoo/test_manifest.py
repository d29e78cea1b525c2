"""The manifest: it is complete, and each mistake in one is reported in one line."""

from __future__ import annotations

import re

import pytest

from onnx_compress.compiler.errors import UsageError
from onnx_compress.compiler.zoo.manifest import Draw, load_manifest, select

FORMS = """
[[model]]
name = "a"
source = "built"
builder = "digits-mlp"
licence = "MIT"
framework = "none"
covers = "nothing"
[model.inputs]
x = { shape = ["B", 4] }
"""


def written(tmp_path, text):
    path = tmp_path / "zoo.toml"
    path.write_text(text)
    return path


def test_the_zoo_is_large_and_varied():
    entries = load_manifest()
    wheels = [e for e in entries if e.source == "wheel"]
    assert len(wheels) >= 18
    assert len({e.package for e in wheels}) >= 14
    assert sum(e.short for e in entries) >= 3
    assert not any(e.short and e.source == "wheel" for e in entries), "the short form needs no network"
    frameworks = " ".join(e.framework for e in entries)
    for framework in ("PaddlePaddle", "PyTorch", "TensorFlow", "Keras", "scikit-learn", "Caffe"):
        assert framework in frameworks


def test_models_of_one_package_share_one_archive():
    archives = {}
    for entry in load_manifest():
        archives.setdefault(entry.requirement, set()).add((entry.archive, entry.archive_sha256))
    assert all(len(names) == 1 for names in archives.values())


def test_a_shape_takes_the_batch():
    assert Draw(shape=(2, "B", 128)).at(3) == (2, 3, 128)


def test_globs_choose_models(tmp_path):
    entries = load_manifest(written(tmp_path, FORMS + FORMS.replace('"a"', '"ab"')))
    assert [e.name for e in select(entries, [])] == ["a", "ab"]
    assert [e.name for e in select(entries, ["?b"])] == ["ab"]
    with pytest.raises(UsageError, match=r"no model of the zoo matches 'c\*'; it has a, ab"):
        select(entries, ["a", "c*"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('licence = "MIT"', ""), "model 'a': the key 'licence' is missing"),
        (('licence = "MIT"', 'licence = "MIT"\nlicense = "MIT"'), "unknown key 'license'"),
        (('licence = "MIT"', "licence = 3"), "licence is 3"),
        (('"built"', '"git"'), "source must be one of wheel, installed, file, built, not 'git'"),
        (('"built"', '"wheel"'), "the key 'package' is missing"),
        (('name = "a"', 'name = "../a"'), "a name may contain only lower-case letters"),
        (('["B", 4]', '["N", 4]'), "input 'x': shape ['N', 4]"),
        (('["B", 4]', '["B", 0]'), "input 'x': shape ['B', 0]"),
        (("shape", "form"), "input 'x': unknown key 'form'"),
        (("builder", 'member = "/etc/x"\nbuilder'), "member '/etc/x' points outside its archive"),
        (("builder", 'member = "a/../../x"\nbuilder'), "points outside its archive"),
        (("builder", 'sha256 = "12"\nbuilder'), "sha256 is not 64 hexadecimal digits"),
        (("[[model]]", "[[model]"), "not TOML"),
        (("[[model]]", "[[models]]"), "unknown key 'models'"),
    ],
)
def test_each_mistake_is_named(tmp_path, change, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        load_manifest(written(tmp_path, FORMS.replace(*change, 1)))


def test_two_models_of_one_name_and_a_missing_manifest(tmp_path):
    with pytest.raises(UsageError, match="two models have the name 'a'"):
        load_manifest(written(tmp_path, FORMS + FORMS))
    with pytest.raises(UsageError, match="no such manifest"):
        load_manifest(tmp_path / "none.toml")
