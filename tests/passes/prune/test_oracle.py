"""The oracle on every net: zero every second channel, prune them, and the outputs must be equal."""

import numpy as np
import onnx
import pytest

from models.nets import build, get, names
from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.analysis.cost import Cost
from onnx_compress.compiler.ir.model import Model
from tests.behaviour import run
from tests.pruning import distance, is_exact, pruned, zeroed

EQUAL = 1e-6
PLAIN = [(name, "torchscript-eval") for name in names()]
OTHERS = [
    pytest.param(name, exporter, marks=pytest.mark.slow) for name in names() for exporter in ("torchscript", "dynamo")
]

pytestmark = pytest.mark.torch


def load(name, exporter):
    return Model.from_proto(build(name, exporter=exporter))


@pytest.mark.parametrize(("name", "exporter"), [*PLAIN, *OTHERS])
def test_pruning_half_is_zeroing_half(name, exporter):
    model = load(name, exporter)
    result, reference = pruned(model, is_exact), zeroed(model, is_exact)
    onnx.checker.check_model(result.proto(), full_check=True)
    for batch in (1, 3):
        feeds = get(name).feeds(batch)
        expected = run(reference, feeds)
        assert distance(expected, run(result, feeds)) < EQUAL
        assert distance(run(model, feeds), expected) > 1000 * EQUAL  # the zeroed channels mattered


@pytest.mark.parametrize("name", names())
def test_groups_with_norms_across_them_are_removed_too(name):
    """Removing channels under a LayerNormalization changes its output: the result must load, run and stay finite."""
    model = load(name, "torchscript-eval")
    result = pruned(model)
    onnx.checker.check_model(result.proto(), full_check=True)
    for batch in (1, 3):
        assert all(np.isfinite(array).all() for array in run(result, get(name).feeds(batch)))


@pytest.mark.parametrize("name", ["resnet_basic", "mobilenet_v2", "densenet", "shufflenet_v2", "unet", "vgg", "bilstm"])
def test_pruning_equals_zero_weights_in_the_readers(name):
    """Stricter: the channels themselves stay unchanged, only the weights that read them are zero."""
    model = load(name, "torchscript-eval")
    read = {place for g in ChannelGroups.of(model).prunable for place, _ in g.places if place.role == "in"}
    assert read
    reference = zeroed(model, which=lambda place: place.role == "in")
    feeds = get(name).feeds(2)
    assert distance(run(reference, feeds), run(pruned(model), feeds)) < EQUAL


@pytest.mark.parametrize("name", names())
def test_half_of_all_channels_is_about_what_a_net_of_half_the_width_lacks(name):
    model = load(name, "torchscript-eval")
    net = get(name)
    removed = 1 - Cost.of(pruned(model)).parameters / Cost.of(model).parameters
    assert removed >= 1 - net.parameters(2) / net.parameters() - 0.04
