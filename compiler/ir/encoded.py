"""Weights that are stored as a program, see `compiler/storage`. All other code sees them as arrays."""

from __future__ import annotations

import math
import weakref
from typing import Any

import numpy as np
from onnx_graphsurgeon.ir.tensor import LazyValues

from onnx_compress.compiler.storage import interpret
from onnx_compress.compiler.storage.cells import Cells
from onnx_compress.compiler.storage.forms.vectors import cells_of
from onnx_compress.compiler.storage.program import Program


class Encoding:
    """A program shared by the tensors it computes; `constants` are its parts, made by the exporter on first use."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.constants: tuple[Any, ...] | None = None
        self._sizes: dict[str, int] = {}

    def tensors(self) -> dict[str, tuple[EncodedTensor, np.ndarray]]:
        """Each output as a tensor, and its decoded array. Raises `interpret.Undecodable`; later decoding never does."""
        made = interpret.run(self.program)
        counted = np.count_nonzero if self.program.form == "gaps" else np.size
        self._sizes = {name: int(counted(array)) for name, array in made.items()}
        return {name: (EncodedTensor(self, name, array.shape, array.dtype), array) for name, array in made.items()}

    def share(self, output: str) -> float:
        """The share of the program's bytes attributed to one output: its share of the written elements."""
        return self._sizes[output] / max(1, sum(self._sizes.values()))


class EncodedTensor(LazyValues):
    """One output of a program; decoded on access, and again once the array has been freed."""

    def __init__(self, encoding: Encoding, output: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.encoding = encoding
        self.output = output
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)
        self.nbytes = math.prod(self.shape) * self.dtype.itemsize
        self._decoded: weakref.ref[np.ndarray] | None = None

    @property
    def form(self) -> str:
        """Name of the form in which it is stored."""
        return self.encoding.program.form

    @property
    def cells(self) -> Cells | None:
        """How it is cut into vectors, if it is stored as vectors; otherwise None."""
        return cells_of(self.encoding.program)

    @property
    def stored_bytes(self) -> int:
        """Bytes of its own constants and nodes in the file, without those that programs share."""
        program = self.encoding.program
        return round(program.nbytes(frozenset(program.shared())) * self.encoding.share(self.output))

    def load(self) -> np.ndarray:
        """The dense array, read-only."""
        array = None if self._decoded is None else self._decoded()
        if array is None:
            array = interpret.run(self.encoding.program)[self.output].view()
            array.flags.writeable = False
            self._decoded = weakref.ref(array)
        return array
