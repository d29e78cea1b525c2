"""convert-float16: 16-bit floats in the file or in the whole computation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.analysis.weight_readers import is_read_by
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Constant, Graph, Node, Variable
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.replace import adopt
from onnx_compress.compiler.pipeline.base import Effect, Pass, option
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.runtime.crash_probe import survives
from onnx_compress.compiler.storage.forms.choice import LEAST_SAVING
from onnx_compress.passes.quantize._float16 import casts
from onnx_compress.passes.quantize._float16.limits import loss
from onnx_compress.passes.quantize._float16.plan import HalfPlan
from onnx_compress.passes.quantize._plain_bytes import plain_bytes


@dataclass(frozen=True, kw_only=True)
class ConvertFloat16(Pass):
    """Halve the file: float32 becomes float16; inputs and outputs keep their types.

    Given   y = Conv(x, w)
    Result  y = Cast(Conv(Cast(x), w₁₆))    with kind=compute
            y = Conv(x, Cast(w₁₆))          with kind=storage; onnxruntime folds the Cast when it loads the model

    `compute` is for accelerators with 16-bit arithmetic. onnxruntime has few such kernels for CPUs and puts casts
    around the others, so that the model becomes slower there: `storage` keeps its speed.

    A node stays in float32, with Casts around it, if one of its values leaves the range of float16 on the calibration
    data (above 65504, or all below 2⁻¹⁴), if a constant loses too much in the conversion, if ONNX does not define the
    operator for float16, or if the user excludes it. Bodies of If, Loop and Scan compute in float32; with kind=storage
    their weights are stored like others.

    Micikevicius et al., "Mixed Precision Training", ICLR 2018, arXiv:1710.03740, on underflow.
    """

    name = "convert-float16"
    effect = Effect.LOSSY
    kind: str = option(
        "compute", "float16 in the whole computation, or only in the file", choices=("compute", "storage")
    )

    def run(self, model: Model, ctx: Context) -> int:
        """See the class."""
        trial = model.clone()
        changed = self._store(trial, ctx) if self.kind == "storage" else self._compute(trial, ctx)
        if changed and plain_bytes(trial) >= plain_bytes(model):
            ctx.skip("the model", "its weights are too small: the Casts would take more bytes than float16 saves")
            return 0
        if changed:
            adopt(model, trial)
        return changed

    def _store(self, model: Model, ctx: Context) -> int:
        changed = 0
        for node, variable, constant in _constant_nodes(model):
            if _is_worth_storing(constant) and not loss(constant.values) and not edit.is_output(model, variable):
                edit.freeze(model, variable, constant.stored)
                changed += node is not None
        edit.sweep(model)
        stored = 0
        for graph in list(model.graph.graphs()):
            for constant in list(graph.initializers):
                stored += self._store_one(model, graph, constant, ctx)
        if not stored:
            ctx.skip("the model", f"no float32 constant saves {LEAST_SAVING} bytes as float16")
        edit.sweep(model)
        return stored

    def _store_one(self, model: Model, graph: Graph, constant: Constant, ctx: Context) -> int:
        if not _is_worth_storing(constant) or not constant.outputs or edit.is_output(model, constant):
            return 0
        if any(constant is tensor for tensor in model.graph.inputs):
            ctx.skip(constant.name, "also an input, which a caller may override")
            return 0
        if is_read_by(constant, ctx.is_excluded):
            return 0
        reason = loss(constant.values)
        if reason:
            ctx.skip(constant.name, f"stays float32: it {reason}")
            return 0
        casts.store_half(model, constant, graph)
        return 1

    def _compute(self, model: Model, ctx: Context) -> int:
        for _, variable, constant in _constant_nodes(model):
            is_here = variable.inputs[0].graph is model.graph and not edit.is_output(model, variable)
            if is_here and constant.stored.dtype == np.float32:
                edit.freeze(model, variable, constant.stored)
        edit.sweep(model)
        plan = HalfPlan(model, ctx)
        if not plan.halved:
            ctx.skip("the model", "none of its operators can compute in float16")
            return 0
        plan.apply()
        if not survives(model):
            ctx.skip("the model", "onnxruntime crashes when it loads this model in float16; kind=storage avoids that")
            return 0
        return len(plan.halved)


def _constant_nodes(model: Model) -> list[tuple[Node, Variable, Constant]]:
    found = []
    for node in model.nodes():
        value = node.attrs.get("value")
        if node.is_op("Constant") and isinstance(value, Constant) and isinstance(node.outputs[0], Variable):
            found.append((node, node.outputs[0], value))
    return found


def _is_worth_storing(constant: Constant) -> bool:
    return constant.stored.dtype == np.float32 and constant.nbytes // 2 - 2 * len(constant.name) - 80 >= LEAST_SAVING
