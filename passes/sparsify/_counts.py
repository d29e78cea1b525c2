"""The number of weights that each part of a model keeps."""

from __future__ import annotations

from collections.abc import Sequence

from onnx_compress.compiler.budget.curves import along_hulls
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.passes.sparsify._criteria import comparable, shares
from onnx_compress.passes.sparsify._curves import Part, by_magnitude, measured

SELF_COMPARING = ("std", "lamp")
"""Criteria that make weights of different layers comparable by themselves."""


def counts(model: Model, found: Sequence[Part], sparsity: float, scope: str, sample: int, ctx: Context) -> list[int]:
    """The number of weights that each part keeps, so that all together keep (1 − sparsity) of them.

    Parts with a prescribed density keep that. Each of the others keeps the same share ('uniform'), or ('global')
    those of highest importance over all layers with criteria std and lamp, otherwise those of least total loss:
    measured at the outputs, or without data Σ w². `sample` is the bytes of activations per sample.
    """
    if scope == "uniform":
        return [_own(part) if _is_fixed(part) else _rounded(part, 1 - sparsity) for part in found]
    total = int((1 - sparsity) * sum(part.size for part in found) + 0.5)
    has_runs = any(part.method.pattern.of for part in found)
    if found[0].method.criterion in SELF_COMPARING and not has_runs:
        rest = total - sum(_own(part) for part in found if _is_fixed(part))
        importance = [comparable(p.method.criterion, p.weight.matrices()) for p in found if not _is_fixed(p)]
        chosen = iter(shares(importance, rest).tolist() if importance else ())
        return [_own(part) if _is_fixed(part) else next(chosen) for part in found]
    curves = measured(model, found, sample, ctx) if ctx.data.real else [by_magnitude(part) for part in found]
    return along_hulls(curves, total)


def _is_fixed(part: Part) -> bool:
    """Whether the part's number is prescribed."""
    return part.density is not None or part.method.pattern.of > 0


def _own(part: Part) -> int:
    return int(part.counts()[-1])


def _rounded(part: Part, density: float) -> int:
    return min(int(part.counts()[0]), int(density * part.size + 0.5))
