"""Which constants of a graph may be stored in another form."""

from __future__ import annotations

from onnx_compress.compiler.ir.files.lower import stored_tensors
from onnx_compress.compiler.ir.graph import Constant, Graph
from onnx_compress.compiler.ir.lazy import LazyTensor
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.storage.forms.choice import LEAST_SAVING, STORABLE


def candidates(graph: Graph, ctx: Context) -> list[Constant]:
    """Initializers that are constants for certain and large enough, in the order of the file.

    A caller may give an input another value than its initializer, and a quantization annotation names tensors of the
    file: both stay. A weight that only excluded layers read stays too.
    """
    inputs = {id(tensor) for tensor in graph.inputs}
    annotated = _annotated(graph)
    return [
        c
        for c in graph.initializers
        if c.nbytes > LEAST_SAVING
        and c.dtype.name in STORABLE
        and id(c) not in inputs
        and c.name not in annotated
        and c.outputs
        and not any(ctx.is_excluded(reader) for reader in c.outputs)
    ]


def stored(graph: Graph) -> set[Constant]:
    """The constants that are written in another form than the plain one."""
    return {constant for constant, _ in stored_tensors(graph)} | {c for c in graph.initializers if is_sparse(c)}


def is_sparse(constant: Constant) -> bool:
    """Whether a constant is a sparse initializer."""
    return isinstance(constant.stored, LazyTensor) and constant.stored.is_sparse


def _annotated(graph: Graph) -> set[str]:
    names = set()
    for annotation in graph.header.quantization_annotation:
        names.add(annotation.tensor_name)
        names.update(entry.value for entry in annotation.quant_parameter_tensor_names)
    return names
