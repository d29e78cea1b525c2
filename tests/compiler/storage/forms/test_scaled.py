from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_compress.compiler.storage import interpret
from onnx_compress.compiler.storage.forms.choice import cheapest, written
from onnx_compress.compiler.storage.forms.scaled import SCALED
from onnx_compress.compiler.storage.structure import Structure, positive_zero
from onnx_compress.compiler.storage.weight import WeightValues
from tests.compiler.storage.weights import run_in_onnxruntime, same


@given(
    codes=st.lists(st.integers(-7, 7), min_size=24, max_size=24),
    scale=st.lists(st.floats(2**-10, 1000, width=32), min_size=4, max_size=4),
    opset=st.sampled_from((11, 13, 21)),
)
@settings(max_examples=60)
def test_scaled_weights_come_back(codes, scale, opset):
    scales = np.array(scale, np.float32).reshape(4, 1, 1)
    values = np.array(codes, np.float32).reshape(4, 2, 3) * scales
    structure = Structure(scale=scales).true_for(values)
    assert structure is not None
    program = written(SCALED, WeightValues(values, structure), "w", "b", opset)
    assert same(interpret.run(program)["w"], positive_zero(values))
    assert same(run_in_onnxruntime(program, opset)[0], positive_zero(values))


def test_a_scale_over_a_codebook():
    rng = np.random.default_rng(0)
    scales = rng.uniform(0.5, 2, (64, 1)).astype(np.float32)
    codebook = np.sort(rng.standard_normal(16)).astype(np.float32)
    values = rng.choice(codebook, (64, 64)) * scales
    structure = Structure(codebook=codebook, scale=scales).true_for(values)
    program = cheapest(WeightValues(values, structure), "w", "b", 17)
    assert program is not None
    assert program.form == "scaled"
    assert program.nbytes() < 64 * 64 / 2 + 64 * 4 + 16 * 4 + 400
    assert same(run_in_onnxruntime(program, 17)[0], values)
    assert cheapest(WeightValues(values), "w", "b", 17) is None
