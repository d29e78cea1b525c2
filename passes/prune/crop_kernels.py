"""Crop the zero borders of kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Constant, Node
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import input_constant
from onnx_compress.compiler.pipeline.base import Effect, Pass
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.passes.prune._crops import Crop, crop, zero_borders

LEAST_MACS = 16
"""Saved multiply-accumulates per input element from which cropping the input, a copy, pays (20 take 13 % off)."""
LAST = np.iinfo(np.int64).max
SLICE_BY_INPUTS = 10
"""The first opset in which Slice takes its bounds as inputs."""


@dataclass(frozen=True, kw_only=True)
class CropKernels(Pass):
    """Cut off the rows and columns at the borders of a layer's kernels that are zero in all of them.

    Given y[i] = Σ_t w[t] · x[s·i + d·t − p] with w[t] = 0 for t < c and t ≥ k − e, the kernel keeps k − c − e taps,
    the padding becomes p − d·c in front and shrinks by d·e behind; stride s and dilation d stay. If the padding is
    too small for that, a Slice crops the input, provided that the removed taps save more than its copy costs;
    otherwise only as many taps are removed as the padding covers. For Conv and ConvTranspose of any rank and group;
    automatic padding is made explicit.

    Pruning whole shapes produces such borders: Wen et al., "Learning Structured Sparsity in Deep Neural Networks",
    NIPS 2016 (arXiv:1608.03665).
    """

    name = "crop-kernels"
    effect = Effect.EXACT

    def run(self, model: Model, ctx: Context) -> int:
        """Crop the kernels; returns the number of changed layers."""
        plans: dict[Node, Crop] = {}
        for node in model.nodes():
            if node.is_op("Conv", "ConvTranspose") and not ctx.is_excluded(node):
                found = _plan(ctx, node)
                if found is not None:
                    plans[node] = found
        done: set[Constant] = set()
        changed = [node for node in plans if _shares_plan(model, ctx, node, plans)]
        for node in changed:
            _apply(model, node, plans[node], done)
        return len(changed)


def _plan(ctx: Context, node: Node) -> Crop | None:
    weight = input_constant(node, 1)
    if weight is None:
        return None
    kernels = weight.values
    rank = kernels.ndim - 2
    if not kernels.size or not kernels.any():
        ctx.skip(node, "all of its weights are zero: remove-dead-channels removes such layers")
        return None
    borders = zero_borders(kernels)
    if not any(borders[0] + borders[1]):
        return None
    pads = _pads(node, kernels.shape[2:])
    if isinstance(pads, str):
        ctx.skip(node, pads)
        return None
    dilations = tuple(node.attrs.get("dilations", (1,) * rank))
    whole = crop(borders, pads, dilations, slices=True)
    found = whole if _pays(node, kernels, whole) else crop(borders, pads, dilations, slices=False)
    if (found.lead, found.trail) != borders:
        ctx.skip(node, f"its padding does not cover all zero borders, and {_why_not(node)}")
    return None if found.is_empty else found


def _pads(node: Node, kernel: tuple[int, ...]) -> tuple[int, ...] | str:
    """The padding in front of each spatial axis and behind, or why it is unknown."""
    automatic = node.attrs.get("auto_pad", "NOTSET")
    if node.op == "ConvTranspose" and "output_shape" in node.attrs:
        return "its padding is computed from output_shape"
    if automatic == "VALID" or (automatic == "NOTSET" and "pads" not in node.attrs):
        return (0,) * 2 * len(kernel)
    if automatic == "NOTSET":
        return tuple(node.attrs["pads"])
    if node.op == "ConvTranspose" or any(stride != 1 for stride in node.attrs.get("strides", ())):
        return f"its padding ({automatic}) depends on the size of the input"
    totals = [(k - 1) * d for k, d in zip(kernel, node.attrs.get("dilations", (1,) * len(kernel)))]
    halves = tuple(total // 2 for total in totals)
    others = tuple(total - half for total, half in zip(totals, halves))
    return halves + others if automatic == "SAME_UPPER" else others + halves


def _pays(node: Node, kernels: np.ndarray, found: Crop) -> bool:
    """Whether the whole crop pays, Slice included if it needs one: only Conv can read a smaller input that way."""
    if not found.slices or node.op == "ConvTranspose":
        return not found.slices
    kept = [k - c - e for k, c, e in zip(kernels.shape[2:], found.lead, found.trail)]
    saved = np.prod(kernels.shape[2:]) - np.prod(kept)
    per_element = kernels.shape[0] / node.attrs.get("group", 1) / np.prod(node.attrs.get("strides", (1,)))
    return bool(per_element * saved >= LEAST_MACS)


def _why_not(node: Node) -> str:
    return "its output extends further" if node.op == "ConvTranspose" else "cropping its input costs more than it saves"


def _shares_plan(model: Model, ctx: Context, node: Node, plans: Mapping[Node, Crop]) -> bool:
    """Whether all readers of the weight take the same crop, so that they still share one weight."""
    if edit.is_output(model, node.inputs[1]):
        ctx.skip(node, "its weight is also an output of the model")
        return False
    for reader, slot in edit.uses(model, node.inputs[1]):
        other = plans.get(reader)
        if slot != 1 or other is None or (other.lead, other.trail) != (plans[node].lead, plans[node].trail):
            ctx.skip(node, f"its weight is shared with {reader.label()}, which can't be cropped in the same way")
            return False
    return True


def _apply(model: Model, node: Node, found: Crop, done: set[Constant]) -> None:
    weight = input_constant(node, 1)
    assert weight is not None
    if weight not in done:
        spans = (slice(c, n - e) for c, e, n in zip(found.lead, found.trail, weight.stored.shape[2:]))
        values = weight.values[(slice(None), slice(None), *spans)]
        done.add(edit.set_weight(model, node, 1, values, tied=True))
    weight = input_constant(node, 1)
    assert weight is not None
    edit.set_attr(model, node, "kernel_shape", weight.stored.shape[2:])
    edit.set_attr(model, node, "auto_pad", None)
    edit.set_attr(model, node, "pads", found.pads)
    if found.slices:
        _slice(model, node, found)


def _slice(model: Model, node: Node, found: Crop) -> None:
    """Crop the input of `node` by `found.front` and `found.back`."""
    bounds = {
        "starts": np.array(found.front, np.int64),
        "ends": np.array([-end or LAST for end in found.back], np.int64),
        "axes": np.arange(2, 2 + len(found.front), dtype=np.int64),
    }
    source, base = node.inputs[0], node.layer_name()
    if model.opset >= SLICE_BY_INPUTS:
        constants = [edit.add_constant(model, base, key, value, graph=node.graph) for key, value in bounds.items()]
        made = edit.add_node(model, "Slice", [source, *constants], base=base, suffix="crop", before=node)
    else:
        attrs = {key: [int(v) for v in value] for key, value in bounds.items()}
        made = edit.add_node(model, "Slice", [source], base=base, suffix="crop", before=node, attrs=attrs)
    edit.set_input(model, node, 0, made.outputs[0])
