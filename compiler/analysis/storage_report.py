"""How the weights of a model are stored, and how far from the least that is."""

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
"""Elements from which a constant is listed."""


@dataclass(frozen=True)
class StoredForm:
    """One weight: `bytes` of the file stand for it alone, `distinct` values it has, `entropy` bits an element.

    The entropy is that of the values taken one by one: what an ideal code for them alone would need.
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
        """Bits of the file an element."""
        return 8 * self.bytes / max(1, int(np.prod(self.shape, dtype=np.int64)))


def form_of(constant: Constant) -> str:
    """How a constant is stored."""
    if isinstance(constant.stored, EncodedTensor):
        return constant.stored.form
    is_sparse = isinstance(constant.stored, LazyTensor) and constant.stored.is_sparse
    return SPARSE if is_sparse else DENSE


def bytes_by_form(model: Model) -> dict[str, int]:
    """Bytes of all initializers by form, most first; what stored weights share is with none."""
    found: Counter[str] = Counter()
    for constant in model.constants():
        found[form_of(constant)] += constant.stored_bytes
    return dict(found.most_common())


def stored_forms(model: Model) -> list[StoredForm]:
    """The initializers that are numbers and no mere scalars or shapes, in the order of the file."""
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
    """Bits a symbol of symbols that occur so often: -Σ p log₂ p."""
    shares = counts / counts.sum()
    return abs(float(-(shares * np.log2(shares)).sum()))
