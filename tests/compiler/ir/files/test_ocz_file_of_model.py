"""Models in memory become packed files of plain weights."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_compress import compress, load
from onnx_compress.compiler.errors import OutputError
from onnx_compress.compiler.ir.encoded import EncodedTensor
from onnx_compress.compiler.ir.files import ocz_file
from onnx_compress.compiler.ir.lazy import LazyTensor
from onnx_compress.compiler.ir.model import Model
from tests.small_models import small_model


def is_sparse(stored: object) -> bool:
    return isinstance(stored, LazyTensor) and stored.is_sparse


@pytest.fixture
def encoded(request: pytest.FixtureRequest, tmp_path) -> Model:
    """A model whose weights are stored in the form asked for; from a file, for sparse ones are seen there alone."""
    result = compress(small_model("residual"), f"sparsify:sparsity=0.9,cluster:bits=2,encode:form={request.param}")
    result.save(tmp_path / "in.onnx")
    model = load(tmp_path / "in.onnx")
    assert any(isinstance(c.stored, EncodedTensor) or is_sparse(c.stored) for c in model.constants())
    return model


@pytest.mark.parametrize("encoded", ["auto", "sparse"], indirect=True)
def test_a_plain_model_has_the_same_weights_and_leaves_the_other_alone(encoded):
    before = encoded.proto().SerializeToString(deterministic=True)
    plain = ocz_file.plain(encoded)
    assert not any(isinstance(c.stored, EncodedTensor) or is_sparse(c.stored) for c in plain.constants())
    for one, other in zip(encoded.constants(), plain.constants(), strict=True):
        assert one.name == other.name
        np.testing.assert_array_equal(one.values, other.values)
    assert encoded.proto().SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("encoded", ["auto"], indirect=True)
def test_saving_by_the_name_of_a_packed_file_packs(encoded, tmp_path):
    encoded.save(tmp_path / "out.ocz")
    assert (tmp_path / "out.ocz").stat().st_size == ocz_file.size(encoded) < encoded.file_bytes()
    for one, other in zip(encoded.constants(), load(tmp_path / "out.ocz").constants(), strict=True):
        np.testing.assert_array_equal(one.values, other.values)
    with pytest.raises(OutputError, match=r"out\.ocz exists"):
        encoded.save(tmp_path / "out.ocz")


def test_the_same_model_gives_the_same_bytes(tmp_path):
    for name in ("a.ocz", "b.OCZ"):
        small_model("tied").save(tmp_path / name)
    assert (tmp_path / "a.ocz").read_bytes() == (tmp_path / "b.OCZ").read_bytes()
