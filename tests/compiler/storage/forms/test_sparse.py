from __future__ import annotations

import numpy as np
import onnx
from hypothesis import given, settings

from onnx_compress.compiler.storage.forms.sparse import sparse_tensor
from onnx_compress.compiler.storage.structure import positive_zero
from onnx_compress.compiler.storage.weight import WeightValues
from tests.compiler.storage.weights import same, weights


@given(values=weights())
@settings(max_examples=40)
def test_sparse_tensors(values):
    sparse = sparse_tensor(WeightValues(values), "w")
    onnx.checker.check_sparse_tensor(sparse)
    dense = np.zeros(values.size, values.dtype)
    dense[onnx.numpy_helper.to_array(sparse.indices)] = onnx.numpy_helper.to_array(sparse.values)
    assert same(dense.reshape(values.shape), positive_zero(values))
