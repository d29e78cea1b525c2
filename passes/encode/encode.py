"""encode: each weight is stored in the form of the fewest bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
"""The first opset with CumSum and ScatterElements, and the one that older models are raised to, with Split as well."""
AUTO, DENSE, SPARSE = "auto", "dense", "sparse"


@dataclass(frozen=True, kw_only=True)
class Encode(Pass):
    """Store each weight in the form of the fewest bytes; the values stay the same bit by bit (-0.0 becomes 0.0).

    ::

        y = Conv(x, w)     →     y = Conv(x, w),  w = Reshape(Gather(Gather(codebook, table), Cast(bytes)), shape)

    ========  =====================================================================================================
    codebook  few distinct values: an index of 8 bits each, or 4 at opset 21
    packed    few distinct values: several indices in a byte, 1 bit for 2 values, 1.6 for 3, 2.67 for 6, 4 for 16
    gaps      few non-zeros (Deep Compression): their distances in 2 to 8 bits, and their values or indices
    bitmask   many zeros: one bit each and the other values; only where it saves a fifth of all else
    scaled    integers, or a codebook, times a scale, where a pass left it so
    tile      weights that repeat themselves along axis 0
    vectors   few distinct vectors, or few values in each run of outputs, where a pass left it so
    sparse    sparse initializers; only when asked for, because other tools drop them
    ========  =====================================================================================================

    Bytes are counted with the nodes and names around, and a weight that saves fewer than 256 stays as it is.
    onnxruntime folds the nodes when it loads the model, so that nothing is left of them at run time; with its
    optimizations switched off every run decodes. A model of an opset below 11 is raised to 13 where that pays and
    its outputs stay the same. A weight that no pass changed keeps its form unless one is asked for.

    Han, Mao, Dally: Deep Compression (2016). The wrong choice in front of tools that read weights from
    initializers only: `encode:form=dense` undoes it.
    """

    name = "encode"
    effect = Effect.EXACT
    form: str = option(
        AUTO,
        "auto: the smallest for each weight; or this one for every weight that it makes smaller; dense: plain again",
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
            ctx.skip("model", f"opset {model.opset} lacks operators that decode, and {raised}")
            return 0
        done = self._encode(raised, ctx)
        adopt(model, raised)
        return done

    def _encode(self, model: Model, ctx: Context) -> int:
        bases = Bases(model)
        return sum(self._store(model, graph, bases, ctx) for graph in model.graphs())

    def _store(self, model: Model, graph: Graph, bases: Bases, ctx: Context) -> int:
        """Store the weights of one graph; how many."""
        kept = stored(graph) if self.form == AUTO else set()
        found = [c for c in candidates(graph, ctx) if c not in kept]
        if self.form == SPARSE:
            return sum(_to_sparse(model, constant) for constant in found)
        names = StoredNames(bases, graph)
        large = [constant for constant in found if math.prod(constant.shape) > LARGEST]
        small = [constant for constant in found if math.prod(constant.shape) <= LARGEST]
        # One by one where they are large, so that what is computed on the way is never there for all of them.
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
    """Store a weight as a sparse initializer where that pays."""
    weight = WeightValues(constant.values)
    sparse = sparse_tensor(weight, constant.name)
    if is_sparse(constant) or sparse.ByteSize() > dense_bytes(weight, constant.name) - LEAST_SAVING:
        return 0
    store_sparse(model, constant, sparse)
    return 1
