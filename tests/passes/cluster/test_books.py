from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.analysis.weight_readers import find_weights
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.storage.cells import Cells
from onnx_compress.compiler.storage.structure import Structure
from onnx_compress.passes.cluster._books import Books

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,8,9,9] x) => (float[N,40] y, float[N,4,9,9] z)
<float[16,8,3,3] conv, float[16,4,3,3] turned, float[16,40] matrix>
{ h = Conv (x, conv) z = ConvTranspose (h, turned) p = GlobalAveragePool (h) f = Flatten (p) y = MatMul (f, matrix) }"""
RNG = np.random.default_rng(0)


def weight(name, is_sparse=False):
    model = from_text(TEXT)
    found = {one.constant.name: one for one in find_weights(model, lambda node: False, lambda node, why: None)}
    if is_sparse:
        values = np.where(found[name].constant.values > 0, found[name].constant.values, 0)
        edit.replace_values(model, found[name].constant, values, Structure.supported(values))
    return found[name]


@pytest.mark.parametrize(
    ("name", "dim", "per", "cells"),
    [
        ("conv", 1, 0, None),
        ("conv", 2, 0, Cells(1, 2, 0)),
        ("conv", 4, 4, Cells(4, 4, 0)),
        ("conv", 1, 100, Cells(1, 1, 0)),
        ("conv", 1, 5, Cells(4, 1, 0)),  # runs of 4 outputs: no part of 16 has 5
        ("matrix", 4, 20, Cells(2, 4, 1)),
    ],
)
def test_how_a_weight_is_cut(name, dim, per, cells):
    assert Books.of(weight(name), dim, per, "optimal") == Books(cells, "optimal")


@pytest.mark.parametrize(
    ("name", "dim", "reason"),
    [
        ("turned", 2, "its outputs are not contiguous"),
        ("conv", 5, "the inputs of one output can't be cut into vectors of 5"),
    ],
)
def test_why_a_weight_is_not_cut(name, dim, reason):
    assert Books.of(weight(name), dim, 0, "optimal").startswith(reason)


def test_zeros_that_must_stay_are_not_part_of_vectors():
    assert Books.of(weight("conv", is_sparse=True), 2, 0, "optimal").startswith("its zeros must stay")
    assert Books.of(weight("conv", is_sparse=True), 1, 4, "optimal") == Books(Cells(4, 1, 0), "optimal")


@pytest.mark.parametrize(
    ("cells", "bits", "nbytes"),
    [
        (None, 4, 1152 // 2 + 16 * 4),
        (Cells(1, 2, 0), 4, 576 // 2 + 16 * 2 * 4),
        (Cells(4, 4, 0), 8, 288 + 4 * 256 * 4 * 4),
    ],
)
def test_bytes_are_those_of_indices_and_codebooks(cells, bits, nbytes):
    assert Books(cells, "optimal").nbytes(1152, 4, bits) == nbytes


@pytest.mark.parametrize("cells", [None, Cells(1, 2, 0), Cells(4, 1, 0), Cells(2, 4, 0)])
@pytest.mark.parametrize("bits", [1, 3])
def test_a_clustered_weight_has_no_more_entries_and_is_near(cells, bits):
    values = weight("conv").constant.values.copy()
    values[3] = 0
    found = Books(cells, "optimal").clustered(values, bits, np.random.default_rng(1))
    assert found.dtype == values.dtype
    assert not found[3].any(), "zeros stay"
    cut = (cells or Cells()).split(found)
    for book in cut:
        assert len(np.unique(book, axis=0)) <= (1 << bits)
    closer = Books(cells, "optimal").clustered(values, bits + 2, np.random.default_rng(1))
    assert np.square(closer - values).sum() < np.square(found - values).sum() < np.square(values).sum()


def test_later_passes_keep_the_cut_or_the_values():
    values = np.round(RNG.standard_normal((4, 4)))
    assert Books(Cells(2, 2, 0), "x").structure(values).cells == Cells(2, 2, 0)
    assert Books(None, "x").structure(values.astype(np.float32)).codebook is not None
