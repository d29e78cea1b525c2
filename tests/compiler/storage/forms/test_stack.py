from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_compress.compiler.storage import interpret
from onnx_compress.compiler.storage.forms import stack
from onnx_compress.compiler.storage.forms.gaps import GAPS
from onnx_compress.compiler.storage.forms.packed_codebook import PACKED
from onnx_compress.compiler.storage.forms.stack import Member
from onnx_compress.compiler.storage.structure import positive_zero
from onnx_compress.compiler.storage.weight import WeightValues
from tests.compiler.storage.weights import run_in_onnxruntime, same, weights

opsets = st.sampled_from((11, 13, 21))


@pytest.mark.parametrize("form", [GAPS, PACKED], ids=lambda form: form.name)
@given(arrays=st.lists(weights(), min_size=2, max_size=4), opset=opsets)
@settings(max_examples=60)
def test_a_stack_restores_all_weights(form, arrays, opset):
    members = [Member(f"w{i}", f"b{i}", WeightValues(values)) for i, values in enumerate(arrays)]
    if opset < stack.LEAST_OPSET or not all(stack.can_join(member.weight, form.name) for member in members):
        return
    if form is GAPS and sum(np.count_nonzero(a) for a in arrays) > 0.75 * sum(a.size for a in arrays):
        return
    program = stack.stacked(members, form.name, opset)
    expected = [positive_zero(values) for values in arrays]
    assert all(map(same, interpret.run(program).values(), expected))
    assert all(map(same, run_in_onnxruntime(program, opset), expected))
