from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.runtime.data.batch_layout import BatchLayout
from onnx_compress.compiler.runtime.specs import Dim, TensorSpec

Shape = tuple[Dim, ...] | None
FLOAT = np.dtype(np.float32)


def layout(**shapes: Shape) -> BatchLayout:
    return BatchLayout.of([TensorSpec(name, FLOAT, shape) for name, shape in shapes.items()])


@pytest.mark.parametrize(
    ("shapes", "batched", "fixed", "single"),
    [
        # Rule 1: free first dimensions, whatever their names.
        ({"x": ("N", 3, 8, 8)}, "x", None, False),
        ({"x": (None, 3)}, "x", None, False),
        ({"a": ("unk__1", 21), "b": ("unk__2", 21)}, "ab", None, False),
        ({"ids": ("batch", "T"), "mask": ("batch", "T")}, "ids mask", None, False),
        ({"x": ("N", 3), "prior": (1, 4)}, "x", None, False),
        ({"x": None}, "x", None, False),
        # A whole input of free size: it may depend on the batch.
        ({"input": (None, None), "state": (2, None, 128), "sr": ()}, "input", None, True),
        ({"input": ("batch", "T"), "state": (2, "batch", 128)}, "input", None, True),
        # Rule 2: all fixed.
        ({"x": (1, 3, 8, 8)}, "x", 1, False),
        ({"x": (4, 3), "y": (4, 7), "w": (3, 3)}, "xy", 4, False),
        ({"x": (1, 512), "state": (2, 1, 64), "sr": ()}, "x", 1, False),
        # Rule 3: a free first dimension that does not count samples.
        ({"ids": ("N", "T"), "positions": ("T",)}, "ids", None, True),
        ({"x": ("T", 4), "mask": ("T", "T")}, "", None, True),
        ({"frames": ("T", "batch", 80)}, "", None, True),
        ({"waveforms": ("batch_size", "N"), "lengths": ("batch_size",)}, "waveforms lengths", None, False),
        # No input that could hold a batch.
        ({"d": ()}, "", None, True),
        ({}, "", None, True),
    ],
)
def test_the_declared_shapes_decide(shapes: dict[str, Shape], batched: str, fixed: int | None, single: bool) -> None:
    found = layout(**shapes)
    names = batched.split() if " " in batched or batched in shapes else list(batched)
    assert (found.batched, found.fixed, found.single) == (frozenset(names), fixed, single)


def test_the_number_of_samples_per_run() -> None:
    assert layout(x=("N", 3)).run_size(32) == 32
    assert layout(x=("N", 3)).run_size(0) == 1
    assert layout(x=(4, 3)).run_size(32) == 4
    assert layout(x=("N", 3), s=(2, "N")).run_size(32) == 1


def test_a_fixed_batch_is_padded_with_the_last_sample_and_its_outputs_are_cut() -> None:
    fixed = layout(x=(4, 2), w=(3,))
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    w = np.ones(3, np.float32)
    feeds = fixed.padded({"x": x, "w": w}, 3)
    np.testing.assert_array_equal(feeds["x"], [[0, 1], [2, 3], [4, 5], [4, 5]])
    assert feeds["w"] is w
    outputs = fixed.cut({"y": feeds["x"], "state": np.zeros((2, 4)), "loss": np.zeros(())}, 3)
    np.testing.assert_array_equal(outputs["y"], x)
    assert outputs["state"].shape == (2, 4)
    assert outputs["loss"].shape == ()


def test_a_free_batch_is_neither_padded_nor_cut() -> None:
    free = layout(x=("N", 2))
    feeds = {"x": np.zeros((3, 2), np.float32)}
    assert free.padded(feeds, 3) == feeds
    assert free.cut(feeds, 3) == feeds
