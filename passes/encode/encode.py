"""encode: each weight is stored in the form of the fewest bytes."""

from __future__ import annotations

from dataclasses import dataclass

from onnx_compress.compiler.ir.graph import Constant
from onnx_compress.compiler.ir.model import LEAST_IR_OF_DEFAULTS, Model
from onnx_compress.compiler.ir.store import store_as, store_dense, store_sparse
from onnx_compress.compiler.pipeline.base import Effect, Pass, option
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.storage.choose import FORMS, LEAST_SAVING, cheapest, dense_bytes
from onnx_compress.compiler.storage.program import Program
from onnx_compress.compiler.storage.sparse import sparse_tensor
from onnx_compress.compiler.storage.weight import Weight
from onnx_compress.passes.encode._candidates import candidates, is_sparse, is_stored
from onnx_compress.passes.encode._names import Bases, Names

LEAST_OPSET = 11
"""The first opset with CumSum and ScatterElements."""
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
    sparse    sparse initializers; only when asked for, because other tools drop them
    ========  =====================================================================================================

    Bytes are counted with the nodes and names around, and a weight that saves fewer than 256 stays as it is.
    onnxruntime folds the nodes when it loads the model, so that nothing is left of them at run time; with its
    optimizations switched off every run decodes. Needs opset 11. A weight that no pass changed keeps its form
    unless one is asked for.

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
        if model.opset < LEAST_OPSET or model.header.ir_version < LEAST_IR_OF_DEFAULTS:
            ctx.skip(
                "model", f"opset {model.opset} has not the operators that decode: at least {LEAST_OPSET} is needed"
            )
            return 0
        bases = Bases(model)
        done = 0
        for graph in model.graphs():
            names = Names(bases, graph)
            for constant in candidates(graph, ctx):
                done += self._store(model, constant, names, bases)
        return done

    def _store(self, model: Model, constant: Constant, names: Names, bases: Bases) -> int:
        """Store one weight, if that pays; whether it was."""
        if is_stored(constant) and self.form == AUTO:
            return 0
        weight = Weight(constant.values, constant.structure)
        if self.form == SPARSE:
            return _to_sparse(model, constant, weight)
        program = self._program(model, constant, weight, names, bases)
        if program is None:
            return 0
        names.add(program)
        store_as(model, {program.outputs[0]: constant}, program)
        return 1

    def _program(self, model: Model, constant: Constant, weight: Weight, names: Names, bases: Bases) -> Program | None:
        forms = FORMS if self.form == AUTO else tuple(form for form in FORMS if form.name == self.form)
        base = bases.of(constant.name)
        while True:
            known = frozenset(names.known)
            found = cheapest(weight, constant.name, base, model.opset, free=names.free, known=known, forms=forms)
            if found is None or names.agree(found):
                return found


def _to_dense(model: Model, ctx: Context) -> int:
    stored = [constant for graph in model.graphs() for constant in candidates(graph, ctx) if is_stored(constant)]
    for constant in stored:
        store_dense(model, constant)
    return len(stored)


def _to_sparse(model: Model, constant: Constant, weight: Weight) -> int:
    """Store a weight as a sparse initializer where that pays."""
    sparse = sparse_tensor(weight, constant.name)
    if is_sparse(constant) or sparse.ByteSize() > dense_bytes(weight, constant.name) - LEAST_SAVING:
        return 0
    store_sparse(model, constant, sparse)
    return 1
