"""Codebooks of parts of a weight (see `cells`): `Reshape(GatherND(books, indices, batch_dims=1))`.

Bytes: n/dim indices of log₂ k bits, several per word as in `packed_codebook`, and books · k · dim values. A matrix
whose outputs are its columns is stored transposed and followed by a Transpose.
"""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.storage.cells import Cells
from onnx_compress.compiler.storage.forms import symbols
from onnx_compress.compiler.storage.forms.form import Form
from onnx_compress.compiler.storage.forms.symbols import Packing
from onnx_compress.compiler.storage.program import Builder, Program
from onnx_compress.compiler.storage.weight import WeightValues

LEAST_OPSET = 12
"""The first opset whose GatherND has `batch_dims`."""
INT64 = 7


def _packing(weight: WeightValues, opset: int) -> Packing | None:
    if weight.in_cells is None or opset < LEAST_OPSET:
        return None
    books, places = weight.in_cells
    return Packing.best(max(2, books.shape[1]), places.size, opset)


def _least(weight: WeightValues, opset: int) -> int | None:
    packing = _packing(weight, opset)
    if packing is None or weight.in_cells is None:
        return None
    books, places = weight.in_cells
    return packing.nbytes(places.size) + int(books.nbytes)


def _write(build: Builder, weight: WeightValues, out: str) -> None:
    packing = _packing(weight, build.opset)
    assert packing is not None
    assert weight.in_cells is not None
    assert weight.structure is not None
    books, places = weight.in_cells
    indices = _indices(build, places[..., None], packing)
    rows = build.step("GatherND", build.part("c", books), indices, out=".v", batch_dims=1)
    if weight.structure.cells is not None and weight.structure.cells.axis:
        turned = build.step("Reshape", rows, build.shape(*weight.shape[::-1]), out=".f")
        build.step("Transpose", turned, out=out)
    else:
        build.step("Reshape", rows, build.shape(*weight.shape), out=out)


def _indices(build: Builder, places: np.ndarray, packing: Packing) -> str:
    """Add nodes that compute the indices [books, n, 1] in int64, as GatherND requires."""
    if packing.per_word == 1:
        return build.step("Cast", build.part("i", packing.pack(places)), out=".j", to=INT64)
    flat = symbols.write(build, places, packing, "i")
    if places.size % packing.per_word:
        flat = build.step("Slice", flat, build.shape(0), build.shape(places.size), out=".h")
    shaped = build.step("Reshape", flat, build.shape(*places.shape), out=".k")
    return shaped if packing.bits == 64 else build.step("Cast", shaped, out=".j", to=INT64)


VECTORS = Form("vectors", _least, _write)


def cells_of(program: Program) -> Cells | None:
    """The cells of the weight that a program of this form stores; None for another form."""
    if program.form != VECTORS.name:
        return None
    arrays = {part.name: part.array for part in program.parts}
    books = next(arrays[step.inputs[0]] for step in program.steps if step.op == "GatherND")
    return Cells(books.shape[0], books.shape[2], int(program.steps[-1].op == "Transpose"))
