"""Inline model-local functions on load, so that passes see only operators."""

from __future__ import annotations

import onnx
import onnx.inliner

from onnx_compress.compiler.errors import ModelError


def inlined(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model without local functions; the same object if it has none. Raises ModelError if onnx fails."""
    if not proto.functions:
        return proto
    try:
        result = onnx.inliner.inline_local_functions(proto, convert_version=True)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"the model's local functions can't be inlined: {reason}") from None
    del result.functions[:]
    return result
