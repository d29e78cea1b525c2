"""Recognize stored weights when a file is read, so that no other code sees the nodes that decode them."""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx

from onnx_compress.compiler.ir.encoded import EncodedTensor, Encoding
from onnx_compress.compiler.ir.files.external import DataFolder
from onnx_compress.compiler.ir.lazy import LazyTensor, numpy_dtype, size_in_bytes
from onnx_compress.compiler.ir.order import reads
from onnx_compress.compiler.storage import recognition
from onnx_compress.compiler.storage.interpret import MAX_BYTES, Undecodable

MOST_TIMES = 1024
"""Maximum bytes of decoded weights per byte of constants, on top of `MAX_BYTES`: no real model exceeds it."""


@dataclass
class Decoded:
    """A graph's stored weights.

    `tensors` maps a constant of the file to the weights that replace it; `constants` and `outputs` are the names of all
    constants and values that belong to stored weights.
    """

    tensors: dict[str, list[tuple[str, EncodedTensor]]] = field(default_factory=dict)
    constants: set[str] = field(default_factory=set)
    outputs: set[str] = field(default_factory=set)


def decoded(graph: onnx.GraphProto, folder: DataFolder) -> Decoded:
    """The stored weights of `graph`; none of them if one can't be decoded or the limits are exceeded."""
    weights = Decoded()
    if not any(recognition.is_candidate(node) for node in graph.node):
        return weights
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    given = {info.name for info in graph.input}
    found = recognition.find(graph, [name for name in initializers if name not in given], _read_elsewhere(graph))
    uses: dict[str, int] = {}
    for one in found:
        for name in one.parts:
            uses[name] = uses.get(name, 0) + 1
    budget = MAX_BYTES + MOST_TIMES * sum(initializers[name].ByteSize() for name in uses)
    for one in found:
        arrays = {name: _lazy(initializers[name], folder).load() for name in one.parts}
        try:
            made = Encoding(recognition.program(graph, one, arrays)).tensors()
        except Undecodable:
            return Decoded()
        budget -= sum(array.nbytes for _, array in made.values())
        if budget < 0:
            return Decoded()
        place = next((name for name in one.parts if uses[name] == 1), one.parts[0])
        weights.tensors.setdefault(place, []).extend((name, tensor) for name, (tensor, _) in made.items())
        weights.constants.update(one.parts)
        weights.outputs.update(name for i in one.nodes for name in graph.node[i].output)
    return weights


def _lazy(tensor: onnx.TensorProto, folder: DataFolder) -> LazyTensor:
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return LazyTensor(tensor)
    return LazyTensor(tensor, folder.locate(tensor, size_in_bytes(tensor.dims, numpy_dtype(tensor))))


def _read_elsewhere(graph: onnx.GraphProto) -> set[str]:
    """Names used by anything other than node inputs: bodies, outputs, declarations and annotations."""
    names = {info.name for info in (*graph.output, *graph.value_info)}
    for annotation in graph.quantization_annotation:
        names.add(annotation.tensor_name)
        names.update(entry.value for entry in annotation.quant_parameter_tensor_names)
    for node in graph.node:
        if node.attribute:
            names.update(set(reads(node)) - set(node.input))
    return names
