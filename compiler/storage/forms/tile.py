"""A weight that repeats along axis 0: `Tile(one period, repetitions)`. Bytes: s · period."""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.storage.forms.form import Form
from onnx_compress.compiler.storage.program import Builder
from onnx_compress.compiler.storage.structure import has_period
from onnx_compress.compiler.storage.weight import WeightValues


def _period(weight: WeightValues) -> int | None:
    """The smallest period along axis 0, with -0.0 taken as 0; None if the weight has no period."""
    # onnxruntime has no float16 Tile on the CPU: it would neither fold nor run.
    if weight.values.ndim == 0 or not weight.size or weight.values.dtype == np.float16:
        return None
    rows = weight.flat.reshape(len(weight.values), -1)
    divisors = (p for p in range(1, len(rows)) if len(rows) % p == 0)
    return next((p for p in divisors if np.array_equal(rows[p], rows[0]) and has_period(rows, p)), None)


def _least(weight: WeightValues, opset: int) -> int | None:
    period = _period(weight)
    return None if period is None else weight.itemsize * weight.size // len(weight.values) * period


def _write(build: Builder, weight: WeightValues, out: str) -> None:
    period = _period(weight)
    assert period is not None
    one = weight.flat.reshape(weight.shape)[:period]
    repeats = (len(weight.values) // period, *(1 for _ in weight.shape[1:]))
    build.step("Tile", build.part("o", one), build.shape(*repeats), out=out)


TILE = Form("tile", _least, _write)
