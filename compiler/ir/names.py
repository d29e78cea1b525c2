"""Names of values and nodes: names in use, and new names derived from them."""

from __future__ import annotations

from onnx_compress.compiler.ir.files.lower import program_names, stored_tensors
from onnx_compress.compiler.ir.model import Model


def fresh_name(model: Model, base: str, suffix: str) -> str:
    """`base.suffix`, with the suffix repeated until the name is unused in all graphs of the model."""
    taken = taken_names(model)
    name = f"{base}.{suffix}" if base else suffix
    while name in taken:
        name = f"{name}.{suffix}"
    taken.add(name)
    return name


def taken_names(model: Model) -> set[str]:
    """The names that `fresh_name` never returns: those in use, and those it returned before."""
    if model.taken is None:
        model.taken = names_of(model)
    return model.taken


def names_of(model: Model) -> set[str]:
    """Every name of a value or node in the model, including those in bodies."""
    found: set[str] = set()
    for graph in model.graph.graphs():
        found.update(tensor.name for tensor in (*graph.inputs, *graph.outputs, *graph.initializers))
        for _, stored in stored_tensors(graph):
            found.update(program_names(stored.encoding.program))
        for node in graph.nodes:
            found.add(node.name)
            found.update(out.name for out in node.outputs)
    return found
