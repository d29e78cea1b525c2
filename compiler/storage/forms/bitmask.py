"""Many zeros: a mask of one bit per element, and the non-zero values, plain or through a codebook.

`Gather(values with a leading 0, Mul(CumSum(mask), mask))`: the i-th set bit of the mask selects value i, a clear bit
value 0. Bytes: n/8 + s·z, or n/8 + b·z/8 + s·k. Decoding takes three times the dense weight's memory and more time than
any other form, so this form is chosen only where it saves a fifth compared with the best other form.
"""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.storage.forms import symbols
from onnx_compress.compiler.storage.forms.form import Form, write_shaped
from onnx_compress.compiler.storage.forms.nonzeros import least_bytes, packing, write_values
from onnx_compress.compiler.storage.forms.symbols import Packing
from onnx_compress.compiler.storage.program import Builder
from onnx_compress.compiler.storage.weight import WeightValues

MASK = Packing(2, 8, 8)


def _least(weight: WeightValues, opset: int) -> int | None:
    return MASK.nbytes(weight.size) + least_bytes(weight, len(weight.positions) + 1, opset)


def _write(build: Builder, weight: WeightValues, out: str) -> None:
    mask = symbols.write(build, (weight.flat != 0).astype(np.uint8), MASK, "m")
    order = build.step("CumSum", mask, build.shared("i0", np.array(0, np.int32)), out=".o")
    places = build.step("Mul", order, mask, out=".p")
    at = np.concatenate([[-1], np.arange(len(weight.positions))])
    values = write_values(build, weight, at, packing(weight, len(at), build.opset))
    made = build.step("Gather", values, places, out=".w")
    write_shaped(build, made, -(-weight.size // 8) * 8, weight, out)


BITMASK = Form("bitmask", _least, _write, share=lambda weight: 0.8)
