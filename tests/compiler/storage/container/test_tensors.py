"""Tensors of every type and kind of content: bitwise equal, and close to the size that theory predicts."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_compress.compiler.storage.container import tensors
from onnx_compress.compiler.storage.container.coders.adaptive import Decoder, Encoder
from onnx_compress.compiler.storage.container.coders.notes import BulkReader, BulkWriter, Notes
from onnx_compress.compiler.storage.container.coders.number_sets import ElementKind
from onnx_compress.compiler.storage.container.coders.small_weights import period_of
from onnx_compress.compiler.storage.container.tensors import TensorLayout

RNG = np.random.default_rng
TYPES = [np.dtype(name) for name in ("f2", "f4", "f8", "i1", "u1", "i4", "i8")]
KINDS = {dtype: ElementKind(dtype.itemsize, dtype.kind == "f") for dtype in TYPES}


def coded(array: np.ndarray, *, budget: int | None = None) -> int:
    """Size of a coded array in bytes, after a checked round trip."""
    layout, sections = TensorLayout(array.shape, KINDS[array.dtype]), list[bytes]()
    encoder, bulk = Encoder(), BulkWriter(sections.append)
    notes = Notes(encoder) if budget is None else Notes(encoder, budget=budget)
    tensors.write(notes, bulk, layout, array.tobytes())
    bulk.close()
    raw = encoder.getvalue()
    reader = BulkReader(iter(sections))
    assert tensors.read(Notes(Decoder(raw, 1 << 24)), reader, layout) == array.tobytes()
    reader.close()
    return len(raw) + sum(map(len, sections))


def sparse(shape: tuple[int, ...], density: float, levels: int, seed: int = 0) -> np.ndarray:
    rng = RNG(seed)
    values = np.sort(rng.normal(size=levels).astype(np.float32))
    return np.where(rng.random(shape) < density, values[rng.integers(0, levels, shape)], np.float32(0))


@settings(max_examples=60)
@given(
    st.sampled_from(TYPES),
    st.lists(st.integers(0, 9), max_size=4),
    st.sampled_from([1, 2, 5, 40, 300, 1 << 40]),
    st.floats(0, 1),
    st.integers(0, 99),
)
def test_any_small_tensor_comes_back(dtype, shape, levels, zeros, seed):
    rng = RNG(seed)
    words = rng.integers(0, 1 << 62, min(levels, 500)).astype(f"u{dtype.itemsize}")
    chosen = words[rng.integers(0, len(words), shape)] * (rng.random(shape) >= zeros).astype(words.dtype)
    coded(np.ascontiguousarray(chosen).view(dtype).reshape(shape))


@pytest.mark.parametrize("dtype", ["f4", "f2", "f8"])
def test_every_odd_float_comes_back(dtype):
    odd = np.array([0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 1, -1, 5e-324, -5e-324, 65504], dtype)
    for array in (odd, np.tile(odd, 40), odd[1:2], np.tile(odd[:2], 500), np.full((3, 4), -0.0, dtype)):
        coded(array)


@pytest.mark.parametrize("dtype", ["i1", "i4", "i8", "u1"])
def test_the_largest_and_smallest_integers_come_back(dtype):
    limits = np.iinfo(dtype)
    for count in (1, 40, 5000):
        coded(np.resize(np.array([limits.min, limits.max, 0, 1, limits.max - 1], dtype), count))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((300, 700), np.float32),
        np.ones((3, 3), np.float32),
        np.zeros((0, 5), np.float32),
        np.float32(3),
        sparse((64, 32, 3, 3), 0.3, 200),
        sparse((300, 400), 0.05, 16),
        RNG(0).normal(size=(100, 900)).astype(np.float32),
        RNG(0).integers(-127, 128, (70, 900)).astype(np.int8),
        np.arange(70_000, dtype=np.int64),
        np.repeat(np.arange(256, dtype=np.uint8), 300),
        np.where(RNG(0).random(70_000) < 0.01, RNG(0).normal(size=70_000), 0),
    ],
    ids=lambda array: f"{array.dtype}{list(array.shape)}",
)
def test_larger_tensors_come_back(array):
    coded(array)


def test_large_tensors_are_coded_in_blocks(monkeypatch):
    monkeypatch.setattr(tensors, "_BLOCK", 1000)
    for shape in ((50, 70), (3, 2000), (5000,), (1000,), (7, 10, 13)):
        array = RNG(1).integers(0, 9, shape).astype(np.float32)
        blocks = list(tensors.blocks(TensorLayout(shape, KINDS[array.dtype])))
        assert all(block.count <= 1000 for block in blocks)
        assert sum(block.count for block in blocks) == array.size
        coded(array)


def entropy(symbols: np.ndarray) -> float:
    counts = np.unique(symbols, return_counts=True)[1]
    return float(counts @ np.log2(counts.sum() / counts)) / 8


@pytest.mark.parametrize("budget", [0, None], ids=["in bulk", "bit by bit"])
@pytest.mark.parametrize(
    ("shape", "density", "levels"), [((120, 128), 0.1, 16), ((60, 200), 0.4, 8), ((30, 9), 0.5, 4)]
)
def test_sparse_codebook_weights_take_their_entropy(shape, density, levels, budget):
    array = sparse(shape, density, levels)
    ideal = entropy(array != 0) + entropy(array[array != 0]) + 3 * levels
    assert coded(array, budget=budget) < 1.06 * ideal + 40


def test_rows_of_unequal_density_take_less():
    rng = RNG(0)
    for shape in ((128, 200), (512, 1024)):  # bit by bit, and in bulk
        chances = 0.6 * rng.random((shape[0], 1)) ** 2 * rng.random((1, shape[1]))
        mask = rng.random(shape) < chances
        ideal = -np.where(mask, np.log2(chances), np.log2(1 - chances)).sum() / 8
        size = coded(mask.astype(np.float32))
        assert size < 0.93 * entropy(mask)
        assert size < 1.1 * ideal + 100


def test_rows_of_unequal_scale_take_less():
    rng = RNG(0)
    scales = np.repeat([1, 2, 4, 8], 128)[:, None]
    array = np.rint(rng.normal(size=(512, 600)) * scales).astype(np.int8)
    ideal = sum(entropy(rows) for rows in np.split(array, 4))
    assert 1.1 * ideal < entropy(array)
    assert coded(array) < 1.03 * ideal


def test_dead_rows_and_columns_cost_next_to_nothing():
    array = sparse((40, 50), 0.3, 8)
    wide = np.zeros((400, 500), np.float32)
    wide[np.ix_(np.arange(3, 403 - 360), np.arange(7, 57))] = array
    assert coded(wide) < coded(array) + 40


def test_a_picture_row_before_is_found():
    rng = RNG(0)
    blobs = rng.random((40, 3, 7)) < 0.3
    mask = blobs.repeat(4, axis=2).reshape(40, 3, 28).repeat(9, axis=1).reshape(40, -1)
    assert period_of(mask) == 28
    assert period_of(rng.random((40, 756)) < 0.3) == 0
    assert coded(mask.astype(np.float32)) < 0.12 * entropy(mask)


def test_floats_keep_only_their_mantissas():
    array = RNG(0).normal(size=(100, 1000)).astype(np.float32)
    assert coded(array) < array.nbytes * 0.86
    rounded = (array.view(np.uint32) & 0xFFFF0000).view(np.float32)
    assert coded(rounded) < array.nbytes * 0.36


def test_a_codebook_of_short_values_is_short():
    levels = RNG(0).normal(size=100).astype(np.float32)
    rounded = (levels.view(np.uint32) & 0xFFFFE000).view(np.float32)
    symbols = RNG(1).integers(0, 100, 5000)
    assert coded(rounded[symbols]) + 150 < coded(levels[symbols])


def test_repetition_is_left_to_zstandard():
    period = RNG(0).integers(0, 256, 4096).astype(np.uint8)
    assert coded(np.tile(period, 64)) < 4096 + 400


def fastest(action: Callable[[], object], times: int = 3) -> float:
    taken = []
    for _ in range(times):
        start = time.process_time()
        action()
        taken.append(time.process_time() - start)
    return min(taken)


@pytest.mark.parametrize("content", ["dense", "clustered", "sparse"])
def test_it_is_fast(content):
    array = {
        "dense": lambda: RNG(0).normal(size=(1024, 2048)).astype(np.float32),
        "clustered": lambda: sparse((1024, 2048), 1, 16),
        "sparse": lambda: sparse((1024, 2048), 0.1, 16),
    }[content]()
    layout, sections, encoder = TensorLayout(array.shape, KINDS[array.dtype]), list[bytes](), Encoder()

    def write() -> None:
        sections.clear()
        bulk = BulkWriter(sections.append)
        encoder.__init__()
        tensors.write(Notes(encoder), bulk, layout, array.tobytes())
        bulk.close()

    megabytes = array.nbytes / 1e6
    assert megabytes / fastest(write) > 20
    raw = encoder.getvalue()
    notes = lambda: Notes(Decoder(raw, 1 << 24))  # noqa: E731
    assert megabytes / fastest(lambda: tensors.read(notes(), BulkReader(iter(sections)), layout)) > 20
