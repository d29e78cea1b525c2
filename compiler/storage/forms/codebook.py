"""Few distinct values: `Gather(codebook, Cast(indices))`, with indices of 8 bits, or of 4 bits from opset 21 on.

Bytes: n + s·k, or n/2 + s·k.
"""

from __future__ import annotations

from onnx_compress.compiler.storage.forms.form import Form
from onnx_compress.compiler.storage.forms.symbols import INT32, NIBBLES_OPSET, Packing
from onnx_compress.compiler.storage.program import Builder
from onnx_compress.compiler.storage.weight import WeightValues


def _packing(weight: WeightValues, opset: int) -> Packing | None:
    if weight.codebook is None:
        return None
    k = len(weight.codebook)
    return Packing(k, 4 if k <= 16 and opset >= NIBBLES_OPSET else 8, 1)


def _least(weight: WeightValues, opset: int) -> int | None:
    packing = _packing(weight, opset)
    return None if packing is None else packing.nbytes(weight.size)


def _write(build: Builder, weight: WeightValues, out: str) -> None:
    packing = _packing(weight, build.opset)
    assert packing is not None
    assert weight.codebook is not None
    codebook = build.part("c", weight.codebook)
    indices = build.part("i", packing.pack(weight.symbols.reshape(weight.shape)))
    build.step("Gather", codebook, build.step("Cast", indices, out=".j", to=INT32), out=out)


CODEBOOK = Form("codebook", _least, _write)
