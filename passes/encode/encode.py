"""encode: store each weight in its smallest form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from onnx_compress.compiler.analysis.storage_report import DENSE, SPARSE
from onnx_compress.compiler.ir.graph import Constant, Graph
from onnx_compress.compiler.ir.model import LEAST_IR_OF_DEFAULTS, Model
from onnx_compress.compiler.ir.replace import adopt
from onnx_compress.compiler.ir.store import store_as, store_dense, store_sparse
from onnx_compress.compiler.pipeline.base import Effect, Pass, option
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.storage.forms.choice import FORMS, LEAST_SAVING, dense_bytes
from onnx_compress.compiler.storage.forms.sparse import sparse_tensor
from onnx_compress.compiler.storage.forms.stack import LARGEST, Member
from onnx_compress.compiler.storage.weight import WeightValues
from onnx_compress.passes.encode._candidates import candidates, is_sparse, stored
from onnx_compress.passes.encode._names import Bases, StoredNames
from onnx_compress.passes.encode._plan import Planner
from onnx_compress.passes.encode._raise import raised_twin

LEAST_OPSET, RAISED_OPSET = 11, 13
"""The first opset with CumSum and ScatterElements, and the target for older models, which also has Split with sizes."""
AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class Encode(Pass):
    """Store each weight in its smallest form; the values stay bitwise the same (except that -0.0 becomes 0.0).

    ::

        y = Conv(x, w)     →     y = Conv(x, w),  w = Reshape(Gather(Gather(codebook, table), Cast(bytes)), shape)

    ========  =====================================================================================================
    codebook  few distinct values: indices of 8 bits, or 4 bits at opset 21
    packed    few distinct values: several indices per byte, 1 bit for 2 values, 1.6 for 3, 2.67 for 6, 4 for 16
    gaps      few non-zeros (Deep Compression): their distances in 2 to 8 bits, and their values or indices
    bitmask   many zeros: one bit per element and the non-zeros; only where it saves a fifth against all other forms
    scaled    integers, or a codebook, times a scale, if a pass produced one
    tile      weights that repeat along axis 0
    vectors   few distinct vectors, or few values in each run of outputs, if a pass produced them
    sparse    sparse initializers; only on request, because other tools drop them
    ========  =====================================================================================================

    Sizes include nodes and names; a weight that would save fewer than 256 bytes stays unchanged. onnxruntime folds
    the nodes when it loads the model, so nothing is decoded at run time; with its optimizations switched off every
    run decodes. A model of an opset below 11 is converted to opset 13 if that pays and its outputs stay the same. A
    weight that no pass changed keeps its form unless one is requested.

    Han, Mao, Dally: Deep Compression (2016). The wrong choice for tools that read weights only from initializers:
    `encode:form=dense` restores plain initializers.
    """

    name = "encode"
    effect = Effect.EXACT
    form: str = option(
        AUTO,
        "auto: the smallest form of each weight; dense: plain initializers; or one form, where it saves bytes",
        choices=(AUTO, DENSE, *(form.name for form in FORMS), SPARSE),
    )

    def run(self, model: Model, ctx: Context) -> int:
        """See the class."""
        if self.form == DENSE:
            return _to_dense(model, ctx)
        if model.opset >= LEAST_OPSET and model.header.ir_version >= LEAST_IR_OF_DEFAULTS:
            return self._encode(model, ctx)
        trial = model.clone()
        if not self._encode(trial, ctx) or trial.file_bytes() > model.file_bytes() - LEAST_SAVING:
            return 0
        raised = raised_twin(model, ctx, RAISED_OPSET)
        if isinstance(raised, str):
            ctx.skip("the model", f"opset {model.opset} lacks the decoding operators, and {raised}")
            return 0
        done = self._encode(raised, ctx)
        adopt(model, raised)
        return done

    def _encode(self, model: Model, ctx: Context) -> int:
        bases = Bases(model)
        return sum(self._store(model, graph, bases, ctx) for graph in model.graphs())

    def _store(self, model: Model, graph: Graph, bases: Bases, ctx: Context) -> int:
        """Store the weights of one graph; returns their number."""
        kept = stored(graph) if self.form == AUTO else set()
        found = [c for c in candidates(graph, ctx) if c not in kept]
        if self.form == SPARSE:
            return sum(_to_sparse(model, constant) for constant in found)
        names = StoredNames(bases, graph)
        large = [constant for constant in found if math.prod(constant.shape) > LARGEST]
        small = [constant for constant in found if math.prod(constant.shape) <= LARGEST]
        # Large weights one by one, so that intermediate results never exist for all of them at once.
        groups = [*([constant] for constant in sorted(large, key=lambda c: -c.nbytes)), small]
        return sum(self._store_group(model, group, names, bases) for group in groups)

    def _store_group(self, model: Model, found: Sequence[Constant], names: StoredNames, bases: Bases) -> int:
        weights = {c.name: c for c in found}
        members = [Member(c.name, bases.of(c.name), WeightValues(c.values, c.promised)) for c in found]
        planner = Planner.of(max(model.opset, LEAST_OPSET), names)
        planned = planner.plan(members, None if self.form == AUTO else self.form)
        for one in planned:
            store_as(model, {name: weights[name] for name in one.program.outputs}, one.program)
        return sum(len(one.members) for one in planned)


def _to_dense(model: Model, ctx: Context) -> int:
    found = [c for graph in model.graphs() for c in candidates(graph, ctx) if c in stored(graph)]
    for constant in found:
        store_dense(model, constant)
    return len(found)


def _to_sparse(model: Model, constant: Constant) -> int:
    """Store a weight as a sparse initializer if that pays."""
    weight = WeightValues(constant.values)
    sparse = sparse_tensor(weight, constant.name)
    if is_sparse(constant) or sparse.ByteSize() > dense_bytes(weight, constant.name) - LEAST_SAVING:
        return 0
    store_sparse(model, constant, sparse)
    return 1
