"""Weights stored in any form become plain initializers in a copy."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_compress import compress, load
from onnx_compress.compiler.ir.encoded import EncodedTensor
from onnx_compress.compiler.ir.lazy import LazyTensor
from onnx_compress.compiler.ir.model import Model
from tests.small_models import small_model


def is_sparse(stored: object) -> bool:
    return isinstance(stored, LazyTensor) and stored.is_sparse


@pytest.fixture
def encoded(request: pytest.FixtureRequest, tmp_path) -> Model:
    """A model whose weights are stored in the given form, from a file, because only there sparse weights are seen."""
    result = compress(small_model("residual"), f"sparsify:sparsity=0.9,cluster:bits=2,encode:form={request.param}")
    result.save(tmp_path / "in.onnx")
    model = load(tmp_path / "in.onnx")
    assert any(isinstance(c.stored, EncodedTensor) or is_sparse(c.stored) for c in model.constants())
    return model


@pytest.mark.slow
@pytest.mark.parametrize("encoded", ["auto", "sparse"], indirect=True)
def test_a_plain_model_has_the_same_weights_and_leaves_the_other_alone(encoded):
    before = encoded.proto().SerializeToString(deterministic=True)
    plain = encoded.plain()
    assert not any(isinstance(c.stored, EncodedTensor) or is_sparse(c.stored) for c in plain.constants())
    for one, other in zip(encoded.constants(), plain.constants(), strict=True):
        assert one.name == other.name
        np.testing.assert_array_equal(one.values, other.values)
    assert encoded.proto().SerializeToString(deterministic=True) == before
