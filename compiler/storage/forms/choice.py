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
"""All forms; of two of equal size the earlier is chosen."""
LEAST_SAVING = 256
"""Minimum saving in bytes for a weight to be stored in another form than dense."""
NODE_BYTES = 160
"""Estimated bytes of the nodes and names around a weight that is not dense, without the weight's own name."""

Free = Callable[[str], str]


def written(form: Form, weight: WeightValues, name: str, base: str, opset: int, free: Free = str) -> Program:
    """The program that stores the weight `name` in `form`, which must suit the weight."""
    build = Builder(base, opset, free)
    form.write(build, weight, name)
    return build.program(form.name, name)


def dense_bytes(weight: WeightValues, name: str) -> int:
    """Size in bytes of the plain initializer."""
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
    """The smallest program for a weight, or None if none saves 256 bytes.

    `known` are the shared names already in the file. A form whose data alone exceed the best size so far is skipped.
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
    """Whether the weight's type can be stored in a form at all: numbers of whole bytes."""
    return weight.values.dtype.name in STORABLE and weight.size > 0


STORABLE = ("float32", "float16", "float64", "int8", "uint8")
