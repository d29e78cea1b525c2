"""Few distinct values: `Gather(codebook, Cast(indices))`, the indices in 8 bits, or 4 where the opset has them.

Bytes: n + s·k, or n/2 + s·k.
"""

from __future__ import annotations

from onnx_compress.compiler.storage import symbols
from onnx_compress.compiler.storage.form import Form
from onnx_compress.compiler.storage.program import Builder
from onnx_compress.compiler.storage.symbols import NIBBLES_OPSET, Packing
from onnx_compress.compiler.storage.weight import Weight


def _packing(weight: Weight, opset: int) -> Packing | None:
    if weight.codebook is None:
        return None
    k = len(weight.codebook)
    return Packing(k, 4 if k <= 16 and opset >= NIBBLES_OPSET else 8, 1)


def _least(weight: Weight, opset: int) -> int | None:
    packing = _packing(weight, opset)
    return None if packing is None else packing.nbytes(weight.size)


def _write(build: Builder, weight: Weight, out: str) -> None:
    packing = _packing(weight, build.opset)
    assert packing is not None and weight.codebook is not None
    indices = build.step("Cast", build.part("i", packing.pack(weight.symbols.reshape(weight.shape))), out=".j", to=6)
    build.step("Gather", build.part("c", weight.codebook), indices, out=out)


CODEBOOK = Form("codebook", _least, _write)
assert symbols.INT32 == 6
