"""What every form is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from onnx_compress.compiler.storage.program import Builder
from onnx_compress.compiler.storage.weight import WeightValues


@dataclass(frozen=True)
class Form:
    """One way to store a weight.

    `share`: how much of the best other form's bytes, the dense one among them, it may take to be chosen, less than 1
    where decoding takes long or much memory.
    `least(weight, opset)`: fewer bytes than it ever takes, without looking longer than needed; None where the weight
    can't have this form. `write(builder, weight, out)`: the program that makes the tensor called `out`.
    """

    name: str
    least: Callable[[WeightValues, int], int | None]
    write: Callable[[Builder, WeightValues, str], None]
    share: Callable[[WeightValues], float] = lambda weight: 1.0


def write_shaped(build: Builder, rows: str, count: int, weight: WeightValues, out: str) -> None:
    """Nodes that give a tensor of `count` elements, of which the first ones are the weight's, its shape."""
    if count != weight.size:
        flat = build.step("Reshape", rows, build.shape(-1), out=".f")
        rows = build.step("Slice", flat, build.shape(0), build.shape(weight.size), out=".h")
    build.step("Reshape", rows, build.shape(*weight.shape), out=out)
