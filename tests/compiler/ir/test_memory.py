from __future__ import annotations

import copy
import gc
import weakref
from dataclasses import dataclass

import numpy as np
import pytest

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.memory import Memory
from onnx_compress.compiler.ir.weights import input_value
from onnx_compress.compiler.surgery.channel_removal import Cut, Removal
from tests.small_models import small_model


class Counted:
    """An analysis that counts how often it is made."""

    made = 0

    def __init__(self, nodes):
        self.nodes = nodes

    @classmethod
    def of(cls, model):
        Counted.made += 1
        return cls(list(model.nodes()))


@pytest.fixture(autouse=True)
def _count_from_zero():
    Counted.made = 0


def changed(model):
    node = next(n for n in model.nodes() if input_value(n, 1) is not None)
    edit.set_weight(model, node, 1, 2 * input_value(node, 1))
    return model


def test_a_twin_shares_no_node_and_every_array():
    model = small_model("residual")
    twin = model.twin()
    assert list(map(twin.of, model.nodes())) == list(twin.model.nodes())
    assert not set(model.nodes()) & set(twin.model.nodes())
    for old, new in zip(model.constants(), twin.model.constants(), strict=True):
        assert twin.of(old) is new
        assert new.stored is old.stored


def test_what_is_said_of_a_model_is_said_of_its_twin():
    @dataclass(frozen=True)
    class Plan:
        places: tuple
        arrays: dict

    model = small_model("residual")
    node = next(model.nodes())
    plan = Plan(((node, 1), node.outputs[0]), {node: np.arange(3)})
    twin = model.twin()
    said = twin.of(plan)
    assert said.places == ((twin.of(node), 1), twin.of(node.outputs[0]))
    np.testing.assert_array_equal(said.arrays[twin.of(node)], np.arange(3))


def test_a_removal_planned_on_a_model_is_the_one_planned_on_its_twin():
    model = small_model("residual")
    groups = ChannelGroups.of(model)
    twin = model.twin()
    own = ChannelGroups.of(twin.model)
    gone = np.array([0])
    said = twin.of(Removal.of(groups, (Cut(groups.prunable[0], gone),)))
    expected = Removal.of(own, (Cut(own.prunable[0], gone),))
    assert said.weights.keys() == expected.weights.keys()
    assert said.tensors.keys() == expected.tensors.keys()


def test_a_part_of_a_graph_is_not_copied_by_itself():
    node = next(small_model("residual").nodes())
    with pytest.raises(TypeError, match=r"copied with its model: see Model\.twin"):
        copy.deepcopy(node)


def test_a_state_is_that_of_copies_until_an_edit():
    model = small_model("residual").clone()
    copied = model.clone()
    assert copied.state is model.state
    before = model.state
    changed(copied)
    assert copied.state is not before
    assert model.state is before


def test_an_analysis_is_made_once_for_each_state():
    model, memory = small_model("residual").clone(), Memory()
    assert memory.analysis(model, Counted) is memory.analysis(model, Counted)
    assert Counted.made == 1
    memory.analysis(changed(model), Counted)
    assert Counted.made == 2


def test_the_analysis_of_a_copy_is_translated_until_either_changes():
    model, memory = small_model("residual").clone(), Memory()
    memory.analysis(model, Counted)
    copied = memory.twin(model)
    assert memory.analysis(copied, Counted).nodes == list(copied.nodes())
    assert Counted.made == 1
    memory.analysis(changed(copied), Counted)
    assert Counted.made == 2
    other = memory.twin(model)
    memory.release(other)
    memory.analysis(other, Counted)
    assert Counted.made == 3


def test_results_are_found_again_for_copies_and_made_again_after_an_edit():
    model, memory = small_model("residual").clone(), Memory()
    made = []

    def result(asked, key="a"):
        return memory.result(asked, key, lambda: made.append(key) or len(made))

    assert result(model) == result(model.clone()) == 1
    assert result(model, "b") == 2
    assert result(changed(model.clone())) == 3


def test_nothing_is_kept_longer_than_the_model():
    model, memory = changed(small_model("residual").clone()), Memory()
    memory.analysis(model, Counted)
    memory.result(model, "key", lambda: np.zeros(3))
    copied = memory.twin(model)
    memory.release(copied)
    alive = [weakref.ref(model), weakref.ref(model.state), weakref.ref(copied)]
    del model, copied
    gc.collect()
    assert [ref() for ref in alive] == [None] * 3
