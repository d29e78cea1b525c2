"""Small passes with a known effect, and a small classifier to run them on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.pipeline.base import Effect, Pass, option
from onnx_compress.compiler.pipeline.context import Context

CLASSIFIER = """
<ir_version: 8, opset_import: ["" : 17]>
classifier (float[N,6] x) => (float[N,4] y) <float[6,4] w>
{
   [fc] y = MatMul (x, w)
}
"""


def classifier() -> Model:
    """A linear classifier with 4 classes and confident predictions."""
    model = from_text(CLASSIFIER)
    weights = np.zeros((6, 4), np.float32)
    weights[:4] = 10 * np.eye(4, dtype=np.float32)
    edit.replace_values(model, next(model.constants()), weights)
    return model


def labelled(count: int = 400, seed: int = 1) -> dict[str, np.ndarray]:
    """Inputs of four classes and their labels; the classifier is right on all of them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count)
    x = rng.normal(0, 0.05, (count, 6)).astype(np.float32)
    x[np.arange(count), labels] += 1
    return {"x": x, "labels": labels}


@dataclass(frozen=True, kw_only=True)
class Blur(Pass):
    """Swap classes for a share of the inputs' weight: costs accuracy in proportion above one half."""

    name = "blur"
    effect = Effect.LOSSY
    strength = "ratio"
    ratio: float | None = option(None, "share of each row moved to the next class", low=0, high=1)

    def run(self, model: Model, ctx: Context) -> int:
        constant = next(model.constants())
        kept = 1 - (self.ratio or 0.0)
        edit.replace_values(model, constant, kept * constant.values + (1 - kept) * np.roll(constant.values, 1, 1))
        return 1


@dataclass(frozen=True, kw_only=True)
class Nudge(Pass):
    """Change the weights a little."""

    name = "nudge"
    effect = Effect.LOSSY

    def run(self, model: Model, ctx: Context) -> int:
        constant = next(model.constants())
        edit.replace_values(model, constant, constant.values * np.float32(1.001))
        return 1


@dataclass(frozen=True, kw_only=True)
class Swap(Pass):
    """Predict for every class the one before it."""

    name = "swap"
    effect = Effect.LOSSY

    def run(self, model: Model, ctx: Context) -> int:
        constant = next(model.constants())
        edit.replace_values(model, constant, np.roll(constant.values, -1, 1))
        return 1


@dataclass(frozen=True, kw_only=True)
class Unblur(Pass):
    """Restore the weights: a repair."""

    name = "unblur"
    effect = Effect.RETRAIN
    repairs = True

    def run(self, model: Model, ctx: Context) -> int:
        edit.replace_values(model, next(model.constants()), next(ctx.original.constants()).values)
        return 1


@dataclass(frozen=True, kw_only=True)
class Wrong(Pass):
    """Claim to be exact and scale the weights."""

    name = "wrong"
    effect = Effect.EXACT

    def run(self, model: Model, ctx: Context) -> int:
        constant = next(model.constants())
        edit.replace_values(model, constant, constant.values * np.float32(1.01))
        return 1


@dataclass(frozen=True, kw_only=True)
class Broken(Pass):
    """Leave a graph that is invalid."""

    name = "broken"
    effect = Effect.LOSSY

    def run(self, model: Model, ctx: Context) -> int:
        edit.set_attr(model, model.graph.nodes[0], "no_such_attribute", 1)
        return 1


@dataclass(frozen=True, kw_only=True)
class Crash(Pass):
    """Fail."""

    name = "crash"
    effect = Effect.LOSSY

    def run(self, model: Model, ctx: Context) -> int:
        raise ZeroDivisionError("on purpose")


@dataclass(frozen=True, kw_only=True)
class Resign(Pass):
    """Change the signature."""

    name = "resign"
    effect = Effect.LOSSY

    def run(self, model: Model, ctx: Context) -> int:
        model.graph.inputs[0].shape = (2, 6)
        edit.touch(model)
        return 1


@dataclass(frozen=True, kw_only=True)
class Idle(Pass):
    """Refuse everything."""

    name = "idle"
    effect = Effect.LOSSY

    def run(self, model: Model, ctx: Context) -> int:
        ctx.skip(model.graph.nodes[0], "there is nothing to do")
        return 0
