from __future__ import annotations

import numpy as np

from onnx_compress.compiler.storage.forms.tile import TILE
from onnx_compress.compiler.storage.weight import WeightValues


def test_float16_is_not_tiled():
    """onnxruntime has no float16 Tile."""
    assert TILE.least(WeightValues(np.ones((8, 100), np.float16)), 17) is None
    assert TILE.least(WeightValues(np.ones((8, 100), np.float32)), 17) == 400


def test_the_period_is_the_smallest():
    one = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert TILE.least(WeightValues(np.tile(one, (8, 1))), 17) == one.nbytes
    assert TILE.least(WeightValues(np.tile(one, (1, 8))), 17) is None, "only along axis 0"
    assert TILE.least(WeightValues(np.concatenate([one, one, one[:2]])), 17) is None, "only whole periods"
    assert TILE.least(WeightValues(one), 17) is None


def test_zeros_of_either_sign_repeat():
    assert TILE.least(WeightValues(np.float32([0, -0.0, -0.0, 0])), 17) == 4
