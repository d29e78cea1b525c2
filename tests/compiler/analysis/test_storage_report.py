from __future__ import annotations

import math

import numpy as np
import pytest

from onnx_compress.compiler.analysis.storage_report import bytes_by_form, entropy, form_of, stored_forms
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.store import store_as
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.storage.forms.choice import cheapest
from onnx_compress.compiler.storage.weight import WeightValues

TEXT = """<ir_version: 10, opset_import: ["" : 21]>
g (float[N,64] x) => (float[N,64] y) <float[64,64] w, float[64,64] v, float[4] few, int64[2] shape = {0, 64}>
{ h = MatMul (x, w) i = MatMul (h, v) y = Reshape (i, shape) }"""


def prepared():
    """One weight of four equally frequent values, stored in the cheapest form, and a dense one."""
    model = from_text(TEXT)
    constant = next(c for c in model.constants() if c.name == "w")
    values = np.tile(np.float32([0, 1, -1, 2.5]), 1024).reshape(64, 64)
    edit.replace_values(model, constant, np.random.default_rng(0).permutation(values.ravel()).reshape(64, 64))
    program = cheapest(WeightValues(constant.values), "w", "w", 21)
    store_as(model, {"w": constant}, program)
    return model, program


@pytest.mark.parametrize(
    ("counts", "bits"), [([1], 0), ([5, 5], 1), ([1, 1, 1, 1], 2), ([1, 3], 2 - 0.75 * math.log2(3))]
)
def test_entropy(counts, bits):
    assert entropy(np.array(counts)) == pytest.approx(bits)


def test_weights_are_listed_with_their_form_and_what_is_in_them():
    model, program = prepared()
    w, v = stored_forms(model)
    assert (w.name, w.shape, w.form) == ("w", (64, 64), program.form)
    assert (w.nonzero, w.distinct, w.entropy) == (3072, 4, pytest.approx(2))
    assert 2 <= w.bits < 4, "the indices, and the nodes around them"
    assert (v.name, v.form, v.bytes, v.bits) == ("v", "dense", 4 * 4096, 32)
    assert v.distinct > 4000


def test_bytes_are_summed_by_form_the_largest_first():
    model, program = prepared()
    found = bytes_by_form(model)
    assert list(found) == ["dense", program.form]
    assert found["dense"] == 4 * 4096 + 4 * 4 + 8 * 2
    assert found[program.form] == stored_forms(model)[0].bytes


def test_scalars_shapes_and_small_vectors_are_left_out():
    model, _ = prepared()
    assert [one.name for one in stored_forms(model)] == ["w", "v"]
    assert {form_of(constant) for constant in model.constants()} == {"dense", stored_forms(model)[0].form}
