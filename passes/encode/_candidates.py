"""The constants of a graph that may be stored in another form."""

from __future__ import annotations

from onnx_compress.compiler.analysis.weight_readers import is_read_by
from onnx_compress.compiler.ir.files.lower import stored_tensors
from onnx_compress.compiler.ir.graph import Constant, Graph
from onnx_compress.compiler.ir.lazy import LazyTensor
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.storage.forms.choice import LEAST_SAVING, STORABLE


def candidates(graph: Graph, ctx: Context) -> list[Constant]:
    """Initializers that are certainly constant and large enough, in file order.

    Left out: an initializer that is also an input, because callers may override it; a tensor named in a quantization
    annotation; and a weight that an excluded layer reads.
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
        and not is_read_by(c, ctx.is_excluded)
    ]


def stored(graph: Graph) -> set[Constant]:
    """The constants that are stored in any form except as plain initializers."""
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
