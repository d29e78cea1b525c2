"""Models in memory become packed files of plain weights."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_compress import compress, load
from onnx_compress.compiler.errors import OutputError
from onnx_compress.compiler.ir.encoded import EncodedTensor
from tests.small_models import small_model


def test_saving_to_an_ocz_name_packs(tmp_path):
    encoded = compress(small_model("residual"), "sparsify:sparsity=0.9,cluster:bits=2").model
    assert any(isinstance(constant.stored, EncodedTensor) for constant in encoded.constants())
    encoded.save(tmp_path / "out.ocz")
    assert (tmp_path / "out.ocz").stat().st_size == encoded.packed_bytes() < encoded.file_bytes()
    for one, other in zip(encoded.constants(), load(tmp_path / "out.ocz").constants(), strict=True):
        np.testing.assert_array_equal(one.values, other.values)
    with pytest.raises(OutputError, match=r"out\.ocz exists"):
        encoded.save(tmp_path / "out.ocz")


def test_the_same_model_gives_the_same_bytes(tmp_path):
    for name in ("a.ocz", "b.OCZ"):
        small_model("tied").save(tmp_path / name)
    assert (tmp_path / "a.ocz").read_bytes() == (tmp_path / "b.OCZ").read_bytes()
