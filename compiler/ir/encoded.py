"""Weights that are stored as a program: see `compiler/storage`. To everybody else they are arrays."""

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
    """A program and what is made of it once: `constants` are its parts as the exporter writes them."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.constants: tuple[Any, ...] | None = None
        self._sizes: dict[str, int] = {}

    def tensors(self) -> dict[str, tuple[EncodedTensor, np.ndarray]]:
        """A tensor for each output, and what it is now. Raises `interpret.Undecodable`: never again after this."""
        made = interpret.run(self.program)
        counted = np.count_nonzero if self.program.form == "gaps" else np.size
        self._sizes = {name: int(counted(array)) for name, array in made.items()}
        return {name: (EncodedTensor(self, name, array.shape, array.dtype), array) for name, array in made.items()}

    def share(self, output: str) -> float:
        """The part of the program's bytes that stands for one output: as many as it has of what is written."""
        return self._sizes[output] / max(1, sum(self._sizes.values()))


class EncodedTensor(LazyValues):
    """One output of a program; decoded when it is read, and again when nobody holds the array any more."""

    def __init__(self, encoding: Encoding, output: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.encoding = encoding
        self.output = output
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)
        self.nbytes = math.prod(self.shape) * self.dtype.itemsize
        self._decoded: weakref.ref[np.ndarray] | None = None

    @property
    def form(self) -> str:
        """How it is stored."""
        return self.encoding.program.form

    @property
    def cells(self) -> Cells | None:
        """How it is cut into vectors with codebooks, where it is stored so."""
        return cells_of(self.encoding.program)

    @property
    def stored_bytes(self) -> int:
        """Bytes of the file that stand for it alone, constants and nodes; what programs share is not among them."""
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
