"""Every form restores every weight bitwise, in NumPy and in onnxruntime, and states its true size."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_compress.compiler.storage import interpret
from onnx_compress.compiler.storage.forms.choice import FORMS, written
from onnx_compress.compiler.storage.structure import positive_zero
from onnx_compress.compiler.storage.weight import WeightValues
from tests.compiler.storage.weights import model_of, run_in_onnxruntime, same, weights

opsets = st.sampled_from((11, 13, 21))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@given(values=weights(), opset=opsets)
@settings(max_examples=60)
def test_a_form_restores_the_weight(form, values, opset):
    weight = WeightValues(values)
    least = form.least(weight, opset)
    if least is None:
        return
    program = written(form, weight, "w", "b", opset)
    expected = positive_zero(values)
    assert same(interpret.run(program)["w"], expected)
    assert same(run_in_onnxruntime(program, opset)[0], expected)
    assert least <= program.nbytes()


def test_the_stated_size_is_the_size_in_the_file():
    weight = WeightValues((np.arange(4096).reshape(64, 64) % 5).astype(np.float32))
    for form in FORMS:
        if form.least(weight, 17) is None:
            continue
        program = written(form, weight, "w", "b", 17)
        with_it, without = model_of(program, 17).graph, onnx.GraphProto(name="g")
        without.output.extend(with_it.output)
        assert program.nbytes() == with_it.ByteSize() - without.ByteSize()
