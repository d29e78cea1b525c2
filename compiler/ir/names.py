"""Names of values and nodes: those in use, and new ones that derive from them."""

from __future__ import annotations

from onnx_compress.compiler.ir.files.lower import program_names, stored_tensors
from onnx_compress.compiler.ir.model import Model


def fresh_name(model: Model, base: str, suffix: str) -> str:
    """`base.suffix`, with the suffix repeated while that name is taken in any graph of the model."""
    taken = taken_names(model)
    name = f"{base}.{suffix}" if base else suffix
    while name in taken:
        name = f"{name}.{suffix}"
    taken.add(name)
    return name


def taken_names(model: Model) -> set[str]:
    """The names that `fresh_name` never gives: those in use, and those it gave before."""
    if model.taken is None:
        model.taken = names_of(model)
    return model.taken


def names_of(model: Model) -> set[str]:
    """Every name of a value or node in the model, those of bodies included."""
    found: set[str] = set()
    for graph in model.graph.graphs():
        found.update(tensor.name for tensor in (*graph.inputs, *graph.outputs, *graph.initializers))
        for _, stored in stored_tensors(graph):
            found.update(program_names(stored.encoding.program))
        for node in graph.nodes:
            found.add(node.name)
            found.update(out.name for out in node.outputs)
    return found
