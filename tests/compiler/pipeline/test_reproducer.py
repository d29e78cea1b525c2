from __future__ import annotations

import numpy as np
import onnxruntime

from onnx_compress.compiler.errors import PassError
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.reproducer import leave, versions
from tests.behaviour import serialized
from tests.small_models import small_model


def raised(error: Exception) -> Exception:
    try:
        raise error
    except type(error) as caught:
        return caught


def test_a_failed_pass_leaves_its_last_good_model_and_its_story(tmp_path):
    error = PassError("prune: broke", pass_name="prune", passes_before=("simplify", "refit"), node="Conv 'a'")
    error.last_good = small_model("tied")
    left = leave(raised(error), tmp_path / "out.onnx", "onnx-compress in.onnx")
    assert [path.name for path in left] == ["out.partial.onnx", "out.failure.txt"]
    assert serialized(Model.load(left[0])) == serialized(small_model("tied"))
    story = left[1].read_text()
    for line in (
        "command: onnx-compress in.onnx",
        "failed pass: prune",
        "passes before: simplify, refit",
        "node: Conv 'a'",
    ):
        assert line in story.splitlines()
    assert "Traceback" in story


def test_any_other_error_leaves_its_story(tmp_path):
    left = leave(raised(ZeroDivisionError("odd")), tmp_path / "out.onnx", "c")
    assert [path.name for path in left] == ["out.failure.txt"]
    assert "ZeroDivisionError: odd" in left[0].read_text()
    assert "failed pass" not in left[0].read_text()


def test_where_nothing_can_be_written_nothing_is_raised(tmp_path):
    error = PassError("prune: broke", pass_name="prune")
    error.last_good = small_model("tied")
    assert leave(raised(error), tmp_path / "absent" / "out.onnx", "c") == []


def test_versions_are_those_of_the_packages():
    found = versions()
    assert (found["numpy"], found["onnxruntime"]) == (np.__version__, onnxruntime.__version__)
