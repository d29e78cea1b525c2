"""A stack: several weights decoded by one program. Their symbols are concatenated; each has its own codebook.

::

    symbols = Reshape(…) or ScatterElements(…)          as for one weight, but integers
    s_1, s_2, … = Split(symbols);   w_i = Gather(codebook_i, Reshape(s_i, shape_i))

A weight takes three nodes instead of eight, which pays for small weights. Large ones are left out, because the whole
stack is decoded at once, at four bytes per symbol.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnx_compress.compiler.storage.forms import symbols
from onnx_compress.compiler.storage.forms.gaps import GAPS, best_base, write_distances, write_zeros
from onnx_compress.compiler.storage.forms.packed_codebook import PACKED
from onnx_compress.compiler.storage.forms.symbols import Packing
from onnx_compress.compiler.storage.program import Builder, Program
from onnx_compress.compiler.storage.weight import WeightValues

LEAST_OPSET = 13
"""The first opset whose Split takes sizes as an input."""
LARGEST = 1 << 19
"""Maximum number of elements of a weight in a stack."""
TOGETHER = 1 << 20
"""Maximum number of elements of all weights of a stack together."""
SHORT = 1 << 16
"""Maximum number of elements of a weight in a stack that stores all symbols, not only those of the non-zeros."""
FORMS = (GAPS.name, PACKED.name)


@dataclass(frozen=True, eq=False)
class Member:
    """A weight in a stack; `base` is the prefix of the names that belong to it alone."""

    name: str
    base: str
    weight: WeightValues

    @property
    def distinct(self) -> int:
        """Number of entries of its codebook, including zero."""
        found = self.weight.with_zero
        return 0 if found is None else len(found[0])


def can_join(weight: WeightValues, form: str) -> bool:
    """Whether a weight may join a stack whose symbols are stored in `form`."""
    return weight.size <= (LARGEST if form == GAPS.name else SHORT) and weight.with_zero is not None


def stacked(members: Sequence[Member], form: str, opset: int, free: Callable[[str], str] = str) -> Program:
    """One program for all `members`, in order; `form` is how their symbols are stored."""
    build = Builder(members[0].base, opset, free)
    flat = np.concatenate([_symbols(member.weight) for member in members])
    base = max(2, *(member.distinct for member in members))
    made = _write_gaps(build, flat, base) if form == GAPS.name else _write_packed(build, flat, base)
    pieces = tuple(free(f"{member.base}.j") for member in members)
    build.split(made, np.array([member.weight.size for member in members], np.int64), pieces)
    for member, piece in zip(members, pieces, strict=True):
        _write_member(replace(build, base=member.base), member, piece)
    return build.program(form, *(member.name for member in members))


def _symbols(weight: WeightValues) -> np.ndarray:
    """Indices into the codebook that begins with zero, [n]."""
    assert weight.with_zero is not None
    flat = np.zeros(weight.size, np.uint16)
    flat[weight.positions] = weight.with_zero[1]
    return flat


def _write_gaps(build: Builder, flat: np.ndarray, base: int) -> str:
    """Store the non-zero symbols and their gaps."""
    joint = WeightValues(flat.astype(np.float32))  # only its non-zeros are used
    found = best_base(joint, build.opset, lambda count: Packing.best(base, count, build.opset))
    assert found is not None
    length, packing = found
    updates = Packing.best(base, length, build.opset)
    gaps, places = write_distances(build, joint, packing, updates.per_word)
    values = np.append(flat[joint.positions], 0)[gaps.at]
    scattered = symbols.write(build, values, updates, "i")
    zeros = write_zeros(build, flat.size, np.dtype(np.int64 if updates.bits == 64 else np.int32))
    return build.step("ScatterElements", zeros, places, scattered, out=".w")


def _write_packed(build: Builder, flat: np.ndarray, base: int) -> str:
    """Store all symbols, several per word."""
    packing = Packing.best(base, flat.size, build.opset)
    made = symbols.write(build, flat, packing, "i")
    if flat.size % packing.per_word == 0:
        return made
    return build.step("Slice", made, build.shape(0), build.shape(flat.size), out=".h")


def _write_member(build: Builder, member: Member, piece: str) -> None:
    assert member.weight.with_zero is not None
    codebook = build.part("c", member.weight.with_zero[0])
    if len(member.weight.shape) != 1:
        piece = build.step("Reshape", piece, build.shape(*member.weight.shape), out=".r")
    build.step("Gather", codebook, piece, out=member.name)
