"""The cheapest form of a weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from onnx_compress.compiler.storage.forms.bitmask import BITMASK
from onnx_compress.compiler.storage.forms.codebook import CODEBOOK
from onnx_compress.compiler.storage.forms.form import Form
from onnx_compress.compiler.storage.forms.gaps import GAPS
from onnx_compress.compiler.storage.forms.packed_codebook import PACKED
from onnx_compress.compiler.storage.forms.scaled import SCALED
from onnx_compress.compiler.storage.forms.tile import TILE
from onnx_compress.compiler.storage.forms.vectors import VECTORS
from onnx_compress.compiler.storage.program import Builder, Program, framed, tensor
from onnx_compress.compiler.storage.weight import WeightValues

FORMS: tuple[Form, ...] = (CODEBOOK, PACKED, SCALED, GAPS, TILE, BITMASK, VECTORS)
"""In the order in which equal ones are preferred."""
LEAST_SAVING = 256
"""Bytes that a weight must save to be stored in another form than its own."""

Free = Callable[[str], str]


def written(form: Form, weight: WeightValues, name: str, base: str, opset: int, free: Free = str) -> Program:
    """The weight called `name` in one form, which it must be able to have."""
    build = Builder(base, opset, free)
    form.write(build, weight, name)
    return build.program(form.name, name)


def dense_bytes(weight: WeightValues, name: str) -> int:
    """Bytes of the plain initializer."""
    return framed(tensor(name, weight.values[:0])) + weight.values.nbytes


def cheapest(
    weight: WeightValues,
    name: str,
    base: str,
    opset: int,
    *,
    free: Free = str,
    known: Mapping[str, Any] | frozenset[str] = frozenset(),
    forms: tuple[Form, ...] = FORMS,
) -> Program | None:
    """The program of the fewest bytes for a weight, or None where none saves 256 bytes.

    `known` are shared names that are in the file anyway. Nothing is written whose data alone take more than the best.
    """
    if not is_storable(weight):
        return None
    least = {form: form.least(weight, opset) for form in forms}
    shares = {form: form.share(weight) if len(forms) > 1 else 1.0 for form in forms}
    ranked = sorted((-shares[form], size, forms.index(form)) for form, size in least.items() if size is not None)
    limit: float = dense_bytes(weight, name) - LEAST_SAVING
    best: Program | None = None
    for share, size, index in ranked:
        bound = -share * limit
        if size > bound:
            continue
        found = written(forms[index], weight, name, base, opset, free)
        if found.nbytes(known) <= bound:
            best, limit = found, found.nbytes(known) - 1
    return best


def is_storable(weight: WeightValues) -> bool:
    """Whether forms are for such a weight at all: numbers of whole bytes."""
    return weight.values.dtype.name in STORABLE and weight.size > 0


STORABLE = ("float32", "float16", "float64", "int8", "uint8")
