"""The size of a model as a file with plain weights, without writing it, so that a pass can avoid enlarging it."""

from __future__ import annotations

from onnx_compress.compiler.ir.model import Model


def plain_bytes(model: Model) -> int:
    """Bytes of the weights as plain tensors, and of the rest of the model."""
    return model.weight_bytes() + int(model.skeleton(0, is_dense=True).ByteSize())
