"""Store equal initializers once.

In the compiler every layer has its own weight, which can change without the others; equal weights are merged
only when a model is saved.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator

import numpy as np

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Constant, Graph
from onnx_compress.compiler.ir.model import Model

Key = tuple[str, tuple[int, ...]]
BLOCK = 1 << 24


def merge_equal(model: Model) -> int:
    """Replace initializers that are equal in bits, type and shape by the first of them.

    A body may read an initializer of the graphs around it. Inputs, outputs and tensors named in quantization
    annotations are left alone. Returns the number of removed initializers.
    """
    kinds = Counter(_kind(constant) for constant in model.constants())
    merged = _merge_graph(model, model.graph, {}, kinds)
    if merged:
        edit.sweep(model)
    return merged


def _merge_graph(model: Model, graph: Graph, visible: dict[tuple[Key, bytes], Constant], kinds: Counter[Key]) -> int:
    known = dict(visible)
    pinned = _pinned(graph)
    merged = 0
    for constant in graph.initializers:
        kind = _kind(constant)
        if kinds[kind] < 2 or constant.name in pinned:
            continue
        first = known.setdefault((kind, _digest(constant)), constant)
        if first is not constant and constant.outputs:
            edit.replace_uses(model, constant, first)
            merged += 1
    for node in graph.nodes:
        for body in node.bodies():
            merged += _merge_graph(model, body, known, kinds)
    return merged


def _pinned(graph: Graph) -> set[str]:
    names = {tensor.name for tensor in (*graph.inputs, *graph.outputs)}
    for annotation in graph.header.quantization_annotation:
        names.add(annotation.tensor_name)
        names.update(entry.value for entry in annotation.quant_parameter_tensor_names)
    return names


def _kind(constant: Constant) -> Key:
    return str(constant.stored.dtype), tuple(constant.stored.shape)


def _digest(constant: Constant) -> bytes:
    digest = hashlib.sha256()
    for block in _blocks(constant.values):
        digest.update(block)
    return digest.digest()


def _blocks(values: np.ndarray) -> Iterator[bytes]:
    """The bytes of an array in blocks, so that a mapped array is never copied whole."""
    if values.dtype == np.dtype(object):
        yield repr(values.tolist()).encode()
        return
    flat = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    for start in range(0, flat.size, BLOCK):
        yield flat[start : start + BLOCK].tobytes()
