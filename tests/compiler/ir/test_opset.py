"""What comes with a newer opset."""

from __future__ import annotations

import onnx
import pytest

from onnx_compress.compiler.ir.opset import raise_opset
from onnx_compress.compiler.ir.text import from_text

TEXT = '<ir_version: {}, opset_import: ["" : {}]> g (float[N,4] x) => (float[N,4] y) {{ y = Relu (x) }}'


@pytest.mark.parametrize(("before", "after", "ir"), [(13, 21, 10), (21, 22, 10), (21, 23, 11), (11, 13, 8)])
def test_the_ir_version_is_the_one_that_the_opset_came_with_or_the_files_own(before: int, after: int, ir: int) -> None:
    model = from_text(TEXT.format(8, before))
    assert raise_opset(model, after) is None
    assert (model.opset, model.header.ir_version) == (after, ir)
    onnx.checker.check_model(model.proto())
