from __future__ import annotations

import onnxruntime
import pytest

from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.runtime.ort_releases import oldest_onnxruntime


def model(ir, opset):
    text = f'<ir_version: {ir}, opset_import: ["" : {opset}]> g (float[N] x) => (float[N] y) {{ y = Relu (x) }}'
    return from_text(text)


@pytest.mark.parametrize(
    ("ir", "opset", "release"),
    [
        (6, 11, "1.0"),
        (6, 9, "1.0"),  # what an old opset needs, every release has
        (7, 13, "1.6"),
        (8, 13, "1.11"),  # the file's version is newer than its operators
        (7, 17, "1.12"),  # and the other way round
        (10, 21, "1.18"),
        (11, 23, "1.23"),
    ],
)
def test_the_newer_of_what_opset_and_file_need(ir, opset, release):
    assert oldest_onnxruntime(model(ir, opset)) == release


@pytest.mark.parametrize(("ir", "opset"), [(99, 17), (10, 17)])
def test_a_version_that_no_release_has_yet_is_unknown(ir, opset):
    found = model(10, opset)
    found.header.ir_version = ir
    assert (oldest_onnxruntime(found) is None) == (ir == 99)


def test_the_installed_one_has_what_it_is_said_to_have():
    """The newest release in the tables is not above what is installed, which loads such models in all other tests."""
    installed = tuple(map(int, onnxruntime.__version__.split(".")[:2]))
    found = oldest_onnxruntime(model(10, 21))
    assert found is not None
    assert tuple(map(int, found.split("."))) <= installed
