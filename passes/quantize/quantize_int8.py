"""quantize-int8: layers compute in 8-bit integers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from onnx_compress.compiler.ir.graph import Node
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.opset import raise_opset
from onnx_compress.compiler.ir.replace import adopt
from onnx_compress.compiler.ir.weights import input_constant
from onnx_compress.compiler.pipeline.base import Effect, Pass, Saving, option
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.runtime.timing.latency import is_faster
from onnx_compress.passes.quantize._dequantize_opsets import SCALES_OPSET
from onnx_compress.passes.quantize._int8 import floats, value_range
from onnx_compress.passes.quantize._int8.calibrate import observe
from onnx_compress.passes.quantize._int8.histogram import Histogram
from onnx_compress.passes.quantize._int8.insert import Inserter, Types
from onnx_compress.passes.quantize._int8.integer_weights import IntegerWeights
from onnx_compress.passes.quantize._int8.regions import NodeRole, candidates, observed, select
from onnx_compress.passes.quantize._int8.value_range import Range
from onnx_compress.passes.quantize._plain_bytes import plain_bytes
from onnx_compress.passes.quantize._quantized_already import quantized_by

SMALL = 4096
"""Bytes of a float weight below which quantizing it may enlarge the file."""
TYPES = {"u8s8": ("uint8", "int8"), "s8s8": ("int8", "int8"), "u8u8": ("uint8", "uint8")}


@dataclass(frozen=True, kw_only=True)
class QuantizeInt8(Pass):
    """Let Conv, Gemm, MatMul and the operators between them compute in 8-bit integers.

    Given   y = Relu(Conv(x, w, b))
    Result  y = Dq(Q(Conv(Dq(Q(x)), Dq(w₈), Dq(b₃₂))))    with Q(v) = clip(round(v/s) + z), Dq(q) = (q − z)·s

    Static: the scale s and zero point z of every activation come from calibration data, in one pass and bounded memory.
    Weights are symmetric, with the scale of least squared error per output channel. A bias is int32 in units of input
    scale times weight scale. Relu and Clip become the limits of the range. Pools, Add, Mul, Concat and operators that
    only move data are quantized too, if their inputs are integers and their result is read as integers; onnxruntime
    then runs integer kernels throughout. Results of Gemm and MatMul that float operators read, and the model's outputs
    behind them, stay float.

    If the loss on held-out data exceeds the budget, layers stay float, the most sensitive first: they are ranked by
    the noise that quantizing each one alone adds to the outputs. The report has the ranking.

    Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    Inference", CVPR 2018, arXiv:1712.05877.

    The wrong choice for models that spend their time in LSTM, GRU or embeddings: see quantize-weights.
    """

    name = "quantize-int8"
    effect = Effect.LOSSY
    saving = Saving.TIME

    method: str = option(
        "minmax", "how ranges are computed from calibration values", choices=("minmax", "percentile", "entropy")
    )
    percentile: float = option(99.999, "percentage of values inside a range with method=percentile", low=90, high=100)
    types: str = option(
        "auto", "integers of activations and weights; auto: the faster of u8s8 and s8s8", choices=("auto", *TYPES)
    )
    per_channel: bool = option(True, "one scale per output channel of a weight instead of one per weight")
    narrow: bool = option(False, "weights in 7 bits, for CPUs on which 8-bit products saturate (x86 without VNNI)")

    def settled(self, notes: Mapping[str, Any]) -> tuple[QuantizeInt8, Sequence[str]]:
        """The types that were measured as fastest, and the layers that had to stay float."""
        return self.with_options(types=notes.get("types", self.types)), notes.get("left_float", ())

    def run(self, model: Model, ctx: Context) -> int:
        """See the class."""
        done = quantized_by(model)
        if done is not None:
            ctx.skip(done, "the model is already quantized")
            return 0
        if not self._layers(model, ctx, report=True):
            ctx.skip("the model", "no Conv, Gemm or MatMul with a float32 weight that may be quantized")
            return 0
        trial = model.clone()
        obstacle = raise_opset(trial, SCALES_OPSET)
        if obstacle is not None:
            ctx.skip("the model", f"int8 needs opset {SCALES_OPSET}: {obstacle}")
            return 0
        changed = self._quantize(trial, ctx)
        if changed:
            adopt(model, trial)
        return changed

    def _layers(self, model: Model, ctx: Context, *, report: bool = False) -> list[Node]:
        """The nodes with weights that can be quantized and are not excluded."""
        units = candidates(model, ctx.skip if report else _silent)
        return [u.node for u in units if u.kind is NodeRole.WEIGHTED and not ctx.is_excluded(u.node)]

    def _quantize(self, model: Model, ctx: Context) -> int:
        layers = list(dict.fromkeys(node.layer_name() for node in self._layers(model, ctx)))
        excluded = {node.layer_name() for node in model.graph.nodes if ctx.is_excluded(node)}
        units = candidates(model, _silent)
        names = observed(select(units, _named(model, excluded)))
        seen = observe(model, names, ctx, spread=self.method != "minmax")
        ranges = {name: self._range(histogram) for name, histogram in seen.items()}
        integers = IntegerWeights(7 if self.narrow else 8)
        build = partial(self._built, model, ranges, integers, excluded)
        kind, drop = self._fastest(build, ctx)
        left = self._left_float(model, drop, layers, partial(build, kind), ctx)
        left += self._too_small(model, partial(build, kind), left, layers, ctx)
        if len(left) >= len(layers):
            ctx.skip("the model", "no layer can be quantized within the budget without making the file larger")
            return 0
        if left:
            self._warn_if_slower(model, build(kind, left), len(left), ctx)
        changed = self._write(model, ranges, integers, {*excluded, *left}, kind)
        ctx.notes["quantized_layers"] = len(layers) - len(left)
        return changed

    def _warn_if_slower(self, model: Model, mixed: Model, count: int, ctx: Context) -> None:
        times = ctx.judge.speed({"float": model, "int8": mixed})
        if is_faster(times["float"], times["int8"]):
            ratio = times["int8"] / times["float"]
            ctx.skip(
                "the model",
                f"with {count} layer{'s' * (count != 1)} in float it takes {ratio:.2f} times as long as before",
            )

    def _too_small(
        self, model: Model, build: partial[Model], left: list[str], layers: list[str], ctx: Context
    ) -> list[str]:
        """Layers to leave in float because the added nodes take more bytes than their weights save."""
        if plain_bytes(build(left)) < plain_bytes(model):
            return []
        found = []
        for node in self._layers(model, ctx):
            weight = input_constant(node, 1)
            if weight is not None and weight.nbytes < SMALL and node.layer_name() not in left:
                found.append(node.layer_name())
                saving = f"int8 saves on its {weight.nbytes}-byte weight"
                ctx.skip(node, f"left in float: the nodes around it take more bytes than {saving}")
        if plain_bytes(build([*left, *found])) < plain_bytes(model):
            return found
        return [layer for layer in layers if layer not in left]

    def _range(self, seen: Histogram) -> Range:
        if self.method == "minmax":
            return value_range.minmax(seen)
        return value_range.entropy(seen) if self.method == "entropy" else value_range.percentile(seen, self.percentile)

    def _fastest(self, build: partial[Model], ctx: Context) -> tuple[str, float]:
        """The types, and the points that all layers in them lose; timed only where the user left the types open."""
        kinds = ("u8s8", "s8s8") if self.types == "auto" else (self.types,)
        models = {kind: build(kind, ()) for kind in kinds}
        kind = kinds[0]
        if self.types == "auto":
            times = ctx.judge.speed(models)
            kind = "s8s8" if is_faster(times["s8s8"], times["u8s8"]) else "u8s8"
            ctx.notes["types"] = kind
        return kind, 0.0 if np.isinf(ctx.judge.max_drop) else ctx.judge.drop(models[kind])

    def _left_float(
        self, model: Model, drop: float, layers: list[str], build: partial[Model], ctx: Context
    ) -> list[str]:
        """The layers that must stay float to keep within the budget; with all layers in int8 it loses `drop` points."""
        if np.isinf(ctx.judge.max_drop):
            return []
        is_over = drop > ctx.judge.max_drop
        if not is_over and len(layers) > floats.RANKED_UNASKED:
            return []
        alone = partial(_only, build, layers)
        ranking = floats.rank(model, layers, alone, ctx)
        ctx.notes["sensitivity"] = floats.as_notes(ranking)
        if not is_over:
            return []
        order = [item.layer for item in ranking]
        count = floats.fewest(order, lambda k: ctx.judge.drop(build(order[:k])) <= ctx.judge.max_drop)
        ctx.notes["left_float"] = order[:count]
        cost = f"{drop:.2f} points, over the budget of {ctx.judge.max_drop:g}"
        for layer in order[:count]:
            ctx.skip(layer, f"left in float: quantizing all layers costs {cost}")
        return order[:count]

    def _built(
        self,
        model: Model,
        ranges: Mapping[str, Range],
        integers: IntegerWeights,
        excluded: Collection[str],
        kind: str,
        left: Collection[str],
    ) -> Model:
        """A copy of `model` with all layers quantized except those `excluded` and `left`."""
        copy = model.clone()
        self._write(copy, ranges, integers, {*excluded, *left}, kind)
        return copy

    def _write(
        self, model: Model, ranges: Mapping[str, Range], integers: IntegerWeights, left: Collection[str], kind: str
    ) -> int:
        units = select(candidates(model, _silent), _named(model, left))
        activations, weights = TYPES[kind]
        types = Types(np.dtype(activations), np.dtype(weights), self.per_channel)
        return Inserter(model, units, ranges, types, integers).run()


def _only(build: partial[Model], layers: Collection[str], chosen: Collection[str]) -> Model:
    return build([layer for layer in layers if layer not in chosen])


def _named(model: Model, names: Collection[str]) -> set[Node]:
    return {node for node in model.graph.nodes if node.outputs and node.layer_name() in names}


def _silent(node: Node, why: str) -> None:
    """Reasons are reported once, at the first look at the layers."""
