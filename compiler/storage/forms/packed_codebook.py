"""Few distinct values, several indices per word: `Reshape(Gather(Gather(codebook, table), Cast(words)))`.

Bytes: n/m + s·k with m = ⌊log_k 256⌋ in words of 8 bits: 1 bit per element for 2 values, 1.6 for 3, 2 for 4, 2.67 for
6, 4 for 16; in words of 16 bits 3.2 for 9 and 5.33 for 40, in words of 64 bits 4.27 for 17. Works at any opset. All
weights with the same k share one table, which is computed at load.
"""

from __future__ import annotations

from onnx_compress.compiler.storage.forms import symbols
from onnx_compress.compiler.storage.forms.form import Form, write_shaped
from onnx_compress.compiler.storage.forms.symbols import Packing
from onnx_compress.compiler.storage.program import Builder
from onnx_compress.compiler.storage.weight import WeightValues

MOST = 128
"""Number of distinct values above which plain 8-bit indices are as small."""


def _packing(weight: WeightValues) -> Packing | None:
    if weight.codebook is None or len(weight.codebook) > MOST:
        return None
    # Opsets below 21 have no 4-bit integers; from 21 on the form `codebook` uses them.
    return Packing.best(max(2, len(weight.codebook)), weight.size, 0)


def _least(weight: WeightValues, opset: int) -> int | None:
    packing = _packing(weight)
    return None if packing is None or packing.per_word == 1 else packing.nbytes(weight.size)


def _write(build: Builder, weight: WeightValues, out: str) -> None:
    packing = _packing(weight)
    assert packing is not None
    assert weight.codebook is not None
    rows = symbols.write_lookup(build, weight.symbols, weight.codebook, packing)
    write_shaped(build, rows, -(-weight.size // packing.per_word) * packing.per_word, weight, out)


PACKED = Form("packed", _least, _write)
