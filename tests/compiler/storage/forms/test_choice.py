from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.storage.forms import choice
from onnx_compress.compiler.storage.forms.choice import FORMS, cheapest, dense_bytes, written
from onnx_compress.compiler.storage.weight import WeightValues


@pytest.mark.parametrize(
    ("density", "values", "form"),
    [(1, 2, "packed"), (1, 16, "packed"), (1, 200, "codebook"), (0.08, 16, "gaps"), (0.1, 0, "gaps"), (1, 0, None)],
)
def test_the_cheapest_form(density, values, form):
    rng = np.random.default_rng(0)
    shape = (64, 32, 3, 3)
    array = rng.choice(rng.standard_normal(values), shape) if values else rng.standard_normal(shape)
    weight = WeightValues((array * (rng.random(shape) < density)).astype(np.float32))
    program = cheapest(weight, "w", "b", 17)
    assert (None if program is None else program.form) == form
    if program is not None:
        others = [written(f, weight, "w", "b", 17).nbytes() for f in FORMS if f.least(weight, 17) is not None]
        assert program.nbytes() == min(others)


def test_a_kernel_of_deep_compression():
    """128×64×3×3 weights with 8 % non-zeros of 16 values take a thirty-fifth of the dense bytes."""
    rng = np.random.default_rng(0)
    shape = (128, 64, 3, 3)
    values = rng.choice(rng.standard_normal(15), shape) * (rng.random(shape) < 0.08)
    program = cheapest(WeightValues(values.astype(np.float32)), "w", "b", 17)
    assert program is not None
    assert values.size * 4 / program.nbytes() > 34


def test_a_small_saving_is_ignored():
    small = WeightValues(np.zeros((9, 8), np.float32))
    assert dense_bytes(small, "w") < 2 * choice.LEAST_SAVING
    assert cheapest(small, "w", "b", 17) is None
