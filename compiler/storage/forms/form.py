"""The interface of a form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from onnx_compress.compiler.storage.program import Builder
from onnx_compress.compiler.storage.weight import WeightValues


@dataclass(frozen=True)
class Form:
    """One way to store a weight.

    `share`: the form is chosen only if it takes at most this share of the bytes of the best other form, dense
    included; less than 1 where decoding is slow or takes much memory.
    `least(weight, opset)`: a lower bound on its bytes that is cheap to compute; None if the weight can't have this
    form. `write(builder, weight, out)`: add the nodes that compute the tensor `out`.
    """

    name: str
    least: Callable[[WeightValues, int], int | None]
    write: Callable[[Builder, WeightValues, str], None]
    share: Callable[[WeightValues], float] = lambda weight: 1.0


def write_shaped(build: Builder, rows: str, count: int, weight: WeightValues, out: str) -> None:
    """Add nodes that reshape `rows`, of `count` elements, to the weight's shape, without any padding at the end."""
    if count != weight.size:
        flat = build.step("Reshape", rows, build.shape(-1), out=".f")
        rows = build.step("Slice", flat, build.shape(0), build.shape(weight.size), out=".h")
    build.step("Reshape", rows, build.shape(*weight.shape), out=out)
