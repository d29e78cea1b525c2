"""Vectors and several codebooks: in the file, after loading, in a second run, and when they are refused."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import pytest

from onnx_compress import compress, load
from onnx_compress.compiler.ir.encoded import EncodedTensor
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.storage.cells import Cells, coded
from onnx_compress.passes.cluster import _vectors
from onnx_compress.passes.cluster._books import _runs
from tests.passes.cluster.test_cluster_weights import data_for, distance

NET = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,16,9,9] x) => (float[N,12] y)
<float[32,16,3,3] a, float[32] ab, float[32,32,1,1] b, float[32] bb, float[32,80] m, float[80,12] n, float[12] c>
{ ["a"] h = Conv <pads = [1,1,1,1]> (x, a, ab) r = Relu (h) ["b"] s = Conv (r, b, bb) t = Relu (s)
  p = GlobalAveragePool (t) f = Flatten (p) ["m"] z = MatMul (f, m) u = Relu (z) y = Gemm (u, n, c) }"""


def samples(model):
    (feeds,) = data_for(model).batches(256)
    return feeds


@cache
def clustered(options):
    """The net with these options; tests must not change it."""
    model = from_text(NET)
    return compress(model, f"cluster-weights:{options}", data=samples(model))


@pytest.mark.parametrize(
    ("options", "cells", "entries"),
    [
        ("bits=5:dim=2", {"a": Cells(1, 2, 0), "b": Cells(1, 2, 0), "m": Cells(1, 2, 1)}, 32),
        ("bits=6:dim=4", {"a": Cells(1, 4, 0)}, 64),
        ("bits=3:per=16", {"a": Cells(2, 1, 0), "m": Cells(5, 1, 1)}, 8),
        ("bits=4:dim=2:per=20", {"a": Cells(2, 2, 0), "m": Cells(4, 2, 1)}, 16),
    ],
)
def test_weights_are_stored_with_such_codebooks_and_come_back(options, cells, entries, tmp_path):
    result = clustered(options)
    result.save(tmp_path / "out.onnx")
    written = onnx.load(tmp_path / "out.onnx")
    assert sum(node.op_type == "GatherND" for node in written.graph.node) >= len(cells)
    loaded = {constant.name: constant for constant in load(tmp_path / "out.onnx").constants()}
    for constant in result.model.constants():
        assert np.array_equal(loaded[constant.name].values, constant.values)
    for name, expected in cells.items():
        constant = loaded[name]
        assert isinstance(constant.stored, EncodedTensor)
        assert constant.structure is not None
        assert constant.structure.cells == expected
        books, _ = coded(constant.values, expected)
        assert books.shape[1] <= entries
        assert constant.stored_bytes < constant.nbytes / 4
        assert all(not book[0].any() or len(np.unique(book, axis=0)) < entries for book in books)


@pytest.mark.slow
@pytest.mark.parametrize("options", ["bits=5:dim=2", "bits=3:per=16", "bits=5:dim=4:per=16"])
def test_solving_by_the_outputs_takes_most_of_the_error_away(options):
    original = from_text(NET)
    errors = [distance(original, clustered(each).model) for each in (f"{options}:refit=false", options)]
    assert errors[1] < 0.07 * errors[0]


@pytest.mark.slow
def test_vectors_lose_less_than_single_values_of_as_many_bits():
    original = from_text(NET)
    pairs, alone = (distance(original, clustered(options).model) for options in ("bits=6:dim=2", "bits=3"))
    assert pairs < alone


def test_a_second_run_keeps_what_is_equal(tmp_path):
    original = from_text(NET)
    for name in ("once.onnx", "once.ocz"):
        clustered("bits=5:dim=2").save(tmp_path / name)
        again = compress(load(tmp_path / name), "refit", data=samples(original))
        (a,) = (constant for constant in again.model.constants() if constant.name == "a")
        assert a.structure is not None
        assert a.structure.cells == Cells(1, 2, 0)
        assert len(coded(a.values, Cells(1, 2, 0))[0][0]) <= 32


def test_the_same_options_give_the_same_weights():
    make = (clustered, clustered.__wrapped__)  # the second computes again
    first, second = (one("bits=5:dim=4:per=16").model.proto().SerializeToString() for one in make)
    assert first == second


def test_what_can_not_be_cut_has_single_values_and_says_why():
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[N,15,9,9] x) => (float[N,8,19,19] y) <float[24,15,3,3] odd, float[24,8,3,3] turned>
    { ["odd"] h = Conv <pads = [1,1,1,1]> (x, odd) ["turned"] y = ConvTranspose <strides = [2,2]> (h, turned) }"""
    result = compress(from_text(text), "cluster:bits=4:dim=2")
    (report,) = (item for item in result.report.passes if item.name == "cluster-weights")
    assert [skip.why.split(":")[0].split(",")[0] for skip in report.skips] == [
        "the inputs of one output can't be cut into vectors of 2",
        "its outputs are not contiguous",
    ]
    assert all(len(np.unique(c.values)) <= 16 for c in result.model.constants() if c.name in ("odd", "turned"))


@pytest.mark.slow
def test_zeros_of_a_pattern_stay_and_are_not_part_of_vectors():
    original = from_text(NET)
    result = compress(original, "sparsify:sparsity=0.5,cluster:bits=4:dim=2", data=samples(original))
    (report,) = (item for item in result.report.passes if item.name == "cluster-weights")
    assert any("its zeros must stay" in skip.why for skip in report.skips)
    (a,) = (constant for constant in result.model.constants() if constant.name == "a")
    assert np.mean(a.values == 0) > 0.3
    assert len(np.unique(a.values)) <= 16


def test_runs_are_equal_and_no_longer_than_asked():
    assert [_runs(64, 16), _runs(64, 0), _runs(64, 100), _runs(30, 16), _runs(7, 4)] == [4, 1, 1, 2, 7]


def test_kmeans_of_vectors_finds_what_the_weights_are_made_of():
    rng = np.random.default_rng(0)
    made = np.concatenate([np.zeros((1, 4)), 3 * rng.standard_normal((7, 4))])
    vectors = made[rng.integers(0, 8, 2000)] + 0.01 * rng.standard_normal((2000, 4)) * (rng.random((2000, 1)) < 0.9)
    vectors[np.abs(vectors).max(axis=1) < 0.1] = 0
    book = _vectors.centroids(vectors, np.ones(vectors.shape), 8, rng)
    assert book.shape == (8, 4)
    assert not book[0].any()
    distances = np.linalg.norm(book[:, None] - made, axis=2)
    assert distances.min(axis=0).max() < 0.002


def test_an_important_number_of_a_vector_counts_more():
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((4000, 2))
    for column in (0, 1):
        importance = np.where(np.arange(2) == column, 100.0, 1.0) * np.ones(vectors.shape)
        book = _vectors.centroids(vectors, importance, 16, rng)
        missed = np.square(vectors - book[_vectors.nearest(vectors, importance, book)]).mean(axis=0)
        assert missed[column] < 0.02 * missed[1 - column]
