"""How the weights of a model are stored, compared with their entropy."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.ir.encoded import EncodedTensor
from onnx_compress.compiler.ir.graph import Constant
from onnx_compress.compiler.ir.lazy import LazyTensor
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.storage.structure import bits_of

DENSE, SPARSE = "dense", "sparse"
LEAST = 16
"""Minimum number of elements of a listed constant."""


@dataclass(frozen=True)
class StoredForm:
    """One weight: its own `bytes` in the file, the number of `distinct` values, and the `entropy` in bits per element.

    The entropy is the zero-order one of the values: the size of an ideal code that codes each value by itself.
    """

    name: str
    shape: tuple[int, ...]
    form: str
    bytes: int
    nonzero: int
    distinct: int
    entropy: float

    @property
    def bits(self) -> float:
        """Stored bits per element."""
        return 8 * self.bytes / max(1, int(np.prod(self.shape, dtype=np.int64)))


def form_of(constant: Constant) -> str:
    """Name of the form in which a constant is stored."""
    if isinstance(constant.stored, EncodedTensor):
        return constant.stored.form
    is_sparse = isinstance(constant.stored, LazyTensor) and constant.stored.is_sparse
    return SPARSE if is_sparse else DENSE


def bytes_by_form(model: Model) -> dict[str, int]:
    """Bytes of all initializers by form, the largest first; parts shared between weights are left out."""
    found: Counter[str] = Counter()
    for constant in model.constants():
        found[form_of(constant)] += constant.stored_bytes
    return dict(found.most_common())


def stored_forms(model: Model) -> list[StoredForm]:
    """The numeric initializers except scalars and shapes, in file order."""
    wanted = (c for c in model.constants() if c.dtype.kind != "O" and np.prod(c.shape, dtype=np.int64) >= LEAST)
    return [_described(constant) for constant in wanted]


def _described(constant: Constant) -> StoredForm:
    values = constant.values
    _, counts = np.unique(bits_of(values), return_counts=True)
    return StoredForm(
        name=constant.name,
        shape=tuple(constant.shape),
        form=form_of(constant),
        bytes=constant.stored_bytes,
        nonzero=int(np.count_nonzero(values)),
        distinct=len(counts),
        entropy=entropy(counts),
    )


def entropy(counts: np.ndarray) -> float:
    """Entropy in bits per symbol of symbols with these counts: -Σ p log₂ p."""
    shares = counts / counts.sum()
    return abs(float(-(shares * np.log2(shares)).sum()))
