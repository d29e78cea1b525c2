"""How large a model is as a file of plain weights, without writing it: a pass that would enlarge it says so instead."""

from __future__ import annotations

from onnx_compress.compiler.ir.model import Model


def plain_bytes(model: Model) -> int:
    """Bytes of the weights as plain tensors, and of everything around them."""
    return model.weight_bytes() + int(model.skeleton(0, is_dense=True).ByteSize())
