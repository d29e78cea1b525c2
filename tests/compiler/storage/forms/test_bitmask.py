from __future__ import annotations

import numpy as np

from onnx_compress.compiler.storage.forms.choice import cheapest
from onnx_compress.compiler.storage.weight import WeightValues


def test_a_bitmask_needs_to_save_a_fifth_of_the_best_other_form():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((64, 64, 3, 3)).astype(np.float32)
    for density in (0.9, 0.5, 0.2):
        program = cheapest(WeightValues(np.where(rng.random(values.shape) < density, values, 0)), "w", "b", 17)
        assert program is None or program.form != "bitmask"
