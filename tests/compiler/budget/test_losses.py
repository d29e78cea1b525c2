from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.budget.losses import CHECKED, FITTED, Probe, measure, parted, proportional
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.runtime.data.dataset import load
from onnx_compress.compiler.runtime.metrics.divergence import Divergence
from onnx_compress.compiler.runtime.specs import specs
from tests.behaviour import serialized
from tests.compiler.pipeline.passes_for_tests import classifier, labelled


def scaled(model, factor):
    """An edit that scales the weights."""

    def change(twin):
        constant = next(twin.model.constants())
        edit.replace_values(twin.model, constant, np.float32(factor) * constant.values)

    return change


class Scales:
    """A part with one edit for each factor, None for 1."""

    def __init__(self, model, factors):
        self.model, self.factors = model, factors

    def edits(self):
        yield from (None if factor == 1 else scaled(self.model, factor) for factor in self.factors)

    def losses(self, measured):
        return np.array(measured)


@pytest.fixture
def probed():
    model = classifier()
    data = load(labelled(64), specs(model).inputs)
    return model, data, Probe.of(model, data)


def test_a_loss_is_the_divergence_of_the_edited_copy(probed):
    model, data, probe = probed
    before = serialized(model)
    loss = probe.loss(scaled(model, 0.5))
    assert serialized(model) == before
    other = model.clone()
    edit.replace_values(other, next(other.constants()), np.float32(0.5) * next(model.constants()).values)
    assert loss == Divergence(model, data, probe.batch).of(other) > 0


def test_each_part_is_measured_by_itself_and_told_about(probed):
    model, _, probe = probed
    told = []
    parts = [Scales(model, [1, 0.9, 0.5]), Scales(model, [1, 0.5])]
    first, second = measure(probe, parts, lambda: told.append(1))
    assert first[0] == second[0] == 0
    assert 0 < first[1] < first[2] == second[1]
    assert len(told) == 3


def test_large_activations_bound_the_samples_of_a_run(probed):
    model, data, _ = probed
    assert Probe.of(model, data, 1 << 26).batch == 2
    assert Probe.of(model, data, 1 << 40).batch == 1


def test_losses_grow_with_errors():
    np.testing.assert_allclose(proportional(np.array([0.0, 1.0, 4.0]), 1, 0.3), [0.0, 0.3, 1.2])
    np.testing.assert_array_equal(proportional(np.array([0.0, 0.0]), 1, 0.3), [0.0, 0.0])
    np.testing.assert_array_equal(proportional(np.array([np.nan, np.nan]), 1, 0.3), [0.0, 0.0])


def test_the_two_parts_of_the_samples_share_none():
    data = load(labelled(100), specs(classifier()).inputs)
    fit, check = parted(data, 0)
    assert not set(fit.indices) & set(check.indices)
    assert len(check) == round(100 * CHECKED / (FITTED + CHECKED))
