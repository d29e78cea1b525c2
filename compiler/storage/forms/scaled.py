"""A scale per channel or block: `Mul(Cast(integers), scale)`, or the scale over a weight with a codebook.

Only for weights whose `Structure` holds a scale. DequantizeLinear is not an alternative: in front of a Conv
onnxruntime does not fold it, and it takes 30 to 70 % of the run time.
"""

from __future__ import annotations

import numpy as np
import onnx
from ml_dtypes import int4

from onnx_compress.compiler.storage.forms.codebook import CODEBOOK
from onnx_compress.compiler.storage.forms.form import Form
from onnx_compress.compiler.storage.forms.gaps import GAPS
from onnx_compress.compiler.storage.forms.packed_codebook import PACKED
from onnx_compress.compiler.storage.forms.symbols import NIBBLES_OPSET
from onnx_compress.compiler.storage.program import Builder
from onnx_compress.compiler.storage.structure import unscaled
from onnx_compress.compiler.storage.weight import WeightValues

_INNER = (PACKED, CODEBOOK, GAPS)


def _base(weight: WeightValues) -> WeightValues | None:
    """The weight before scaling, c; None without a scale."""
    known = weight.structure
    if known is None or known.scale is None:
        return None
    values = unscaled(weight.values, known)
    return None if values is None else WeightValues(values)


def _integers(base: WeightValues, opset: int) -> np.dtype | None:
    largest = float(np.abs(base.flat).max(initial=0))
    if not np.isfinite(base.flat).all() or not np.array_equal(np.rint(base.flat), base.flat) or largest > 127:
        return None
    return np.dtype(int4) if largest <= 7 and opset >= NIBBLES_OPSET else np.dtype(np.int8)


def _least_integers(base: WeightValues, opset: int) -> int | None:
    kind = _integers(base, opset)
    return None if kind is None else base.size // (2 if kind == int4 else 1)


def _least(weight: WeightValues, opset: int) -> int | None:
    base = _base(weight)
    if base is None or weight.structure is None or weight.structure.scale is None:
        return None
    found = [_least_integers(base, opset), *(form.least(base, opset) for form in _INNER)]
    return min((size for size in found if size is not None), default=None)


def _write(build: Builder, weight: WeightValues, out: str) -> None:
    base = _base(weight)
    assert base is not None
    assert weight.structure is not None
    assert weight.structure.scale is not None
    inner = f"{build.base}.x"
    sizes = [(form.least(base, build.opset), form) for form in _INNER]
    found = [(size, form) for size, form in sizes if size is not None]
    least, best = min(found, key=lambda pair: pair[0], default=(base.values.nbytes, CODEBOOK))
    kind = _integers(base, build.opset)
    plain = _least_integers(base, build.opset)
    if kind is not None and plain is not None and plain <= least:
        to = onnx.helper.np_dtype_to_tensor_dtype(weight.values.dtype)
        build.step("Cast", build.part("q", base.values.astype(kind)), out=inner, to=int(to))
    else:
        best.write(build, base, inner)
    build.step("Mul", inner, build.part("e", weight.structure.scale), out=out)


SCALED = Form("scaled", _least, _write)
