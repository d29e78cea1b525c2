"""Which layers to leave in float if quantizing all of them exceeds the budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.runtime import session
from onnx_compress.compiler.runtime.metrics.numerics import numerics, worst

PROBES = 32
"""Calibration samples on which a layer's sensitivity is measured."""
RANKED_UNASKED = 64
"""Most layers for which the ranking is made even if the budget does not need it."""

Quantizer = Callable[[Sequence[str]], Model]
"""Makes the model with the named layers quantized and everything else in float."""


@dataclass(frozen=True)
class Sensitivity:
    """The effect of quantizing one layer alone: the worst output's signal-to-noise ratio in dB; low is bad."""

    layer: str
    sqnr_db: float


def rank(original: Model, layers: Sequence[str], quantize: Quantizer, ctx: Context) -> list[Sensitivity]:
    """The layers, most sensitive first; ties in the order of the graph."""
    probes = ctx.data.take(PROBES, ctx.seed)
    reference = session.create(original)
    found = []
    with ctx.progress("rank layers by sensitivity", len(layers)) as advance:
        for layer in layers:
            compared = worst(numerics(reference, session.create(quantize([layer])), probes))
            found.append(
                Sensitivity(layer, -200.0 if compared.problem else float(np.clip(compared.sqnr_db, -200, 200)))
            )
            advance()
    return sorted(found, key=lambda item: item.sqnr_db)


def fewest(ranking: Sequence[str], fits: Callable[[int], bool]) -> int:
    """The least number of layers, from the front of the ranking, that must stay float.

    `fits(k)` tells whether the first k in float keep the budget. 0 is known not to fit, and all of them fit, being the
    float model. Assumes that fitting is monotone, so log₂ of their number is tried.
    """
    low, high = 0, len(ranking)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def as_notes(ranking: Sequence[Sensitivity]) -> list[dict[str, Any]]:
    """The ranking in the form of the report."""
    return [{"layer": item.layer, "sqnr_db": round(item.sqnr_db, 2)} for item in ranking]
