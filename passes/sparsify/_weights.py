"""The weights of a model as matrices of inputs by outputs, however they are stored and whichever layers read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

import numpy as np

from onnx_compress.compiler.analysis.weight_readers import read_weights
from onnx_compress.compiler.ir import edit, ops
from onnx_compress.compiler.ir.graph import Constant, Node
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import input_constant
from onnx_compress.compiler.storage.structure import Structure
from onnx_compress.compiler.surgery.lifted_weights import lifted


@dataclass(eq=False)
class WeightMatrix:
    """A constant that `readers` read, the first of which decides the meaning of its axes; `shape` is the constant's."""

    shape: tuple[int, ...]
    readers: list[tuple[Node, int]] = field(default_factory=list)

    @property
    def node(self) -> Node:
        """The first reader."""
        return self.readers[0][0]

    @property
    def constant(self) -> Constant:
        """The present constant."""
        found = input_constant(*self.readers[0])
        assert found is not None
        return found

    @cached_property
    def places(self) -> np.ndarray:
        """The flat indices in the constant of the elements of the matrices [groups, K, M].

        K are the inputs of an output, M the outputs; for convolutions K is taps · channels.
        """
        node, slot = self.readers[0]
        shape = self.shape
        every = np.arange(prod(shape)).reshape(shape)
        if ops.of(node).family is ops.Family.CONVOLUTION:
            groups, taps = int(node.attrs.get("group", 1)), prod(shape[2:])
            split = every.reshape(groups, -1, shape[1], taps)
            order = (0, 3, 1, 2) if node.op == "ConvTranspose" else (0, 3, 2, 1)
            turned = split.transpose(order)
            return turned.reshape(groups, -1, turned.shape[-1])
        matrices = every.reshape(-1, *shape[-2:])
        return matrices.transpose(0, 2, 1) if _is_turned(node, slot) else matrices

    @property
    def channels(self) -> int:
        """Inputs per tap of a kernel; for a matrix, all inputs."""
        is_kernel = ops.of(self.node).family is ops.Family.CONVOLUTION
        return int(self.places.shape[1]) // (prod(self.shape[2:]) if is_kernel else 1)

    def matrices(self) -> np.ndarray:
        """The values [groups, K, M] in float64."""
        return np.asarray(self.constant.values.reshape(-1)[self.places].astype(np.float64))

    def clear(self, model: Model, kept: np.ndarray) -> None:
        """Set to zero what is not in `kept` [groups, K, M], for all readers, and record that it stays zero."""
        mask = np.zeros(prod(self.shape), bool)
        mask[self.places] = kept
        old, known = self.constant.values, self.constant.structure
        values = np.where(mask.reshape(self.shape), old, old.dtype.type(0))
        is_tied = known is not None and known.codebook is not None and known.scale is None
        structure = Structure.tied(values) if is_tied else Structure.supported(values)
        constant, _ = lifted(model, *self.readers[0])
        edit.replace_values(model, constant, values, structure)


def _is_turned(node: Node, slot: int) -> bool:
    """Whether a matrix is stored as outputs by inputs."""
    if node.op == "Gemm":
        return bool(node.attrs.get("transB", 0)) if slot == 1 else not node.attrs.get("transA", 0)
    return slot == 0 or node.op != "MatMul"


def find_weights(
    model: Model, is_excluded: Callable[[Node], bool], refuse: Callable[[Node, str], None]
) -> list[WeightMatrix]:
    """Every float weight of rank 2 or more that `read_weights` finds."""
    found = read_weights(model, lambda dtype: dtype.kind == "f", is_excluded, refuse)
    return [WeightMatrix(tuple(constant.shape), readers) for constant, readers in found]
