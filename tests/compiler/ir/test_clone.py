"""A clone is independent of its original and shares its arrays."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_compress.compiler.ir import edit, weights
from onnx_compress.compiler.ir.graph import Constant
from tests.compiler.ir.graphs import BRANCHES, CHAIN, is_whole, load, node


def test_no_edit_of_a_clone_reaches_the_original():
    model = load(BRANCHES.replace("unused = Neg (x)", "unused = Constant <value_int = 1> ()"))
    before = model.proto()
    twin = model.clone()
    for constant in list(twin.constants()):
        edit.replace_values(twin, constant, np.zeros(constant.shape, np.float32))
    edit.bypass(twin, node(twin, "copy"))
    edit.set_attr(twin, node(twin, "last"), "k", 1)
    edit.sweep(twin)
    twin.header.producer_name = "other"
    twin.graph.header.name = "other"
    assert model.proto() == before
    assert is_whole(model)


def test_tensors_in_attributes_are_independent():
    model = load("g () => (float[2] y) { y = Constant <value = float[2] {1,2}> () }")
    twin = model.clone()
    edit.replace_values(twin, weights.constant_of(twin.graph.nodes[0].outputs[0]), np.zeros(2, np.float32))
    assert weights.constant_of(model.graph.nodes[0].outputs[0]).values.tolist() == [1, 2]
    proto = twin.proto().graph.node[0].attribute[0].t
    assert onnx.numpy_helper.to_array(proto).tolist() == [0, 0]


def test_arrays_are_shared_and_can_not_be_written():
    model = load(CHAIN)
    edit.replace_values(model, model.graph.initializers[0], np.zeros((4, 4), np.float32))
    constant: Constant = model.clone().graph.initializers[0]
    assert np.shares_memory(constant.values, model.graph.initializers[0].values)
    with pytest.raises(ValueError, match="read-only"):
        constant.values[0, 0] = 1
