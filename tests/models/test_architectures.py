"""Full-size nets: the published numbers of parameters, and the exact removal of half of all channels."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from models.architectures import build, get, module, names
from models.measure.architectures import TORCH_PRUNING
from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.analysis.cost import Cost
from onnx_compress.compiler.ir.model import Model
from tests.behaviour import run
from tests.pruning import distance, is_exact, pruned, zeroed

EQUAL = 1e-6
LARGE = {"resnext50", "inception_v3", "convnext_tiny", "vit_small", "swin_tiny", "swin_small"}
"""Seconds each: all of it is measured by `models.measure.architectures`."""
SMALL = [name for name in names() if name not in LARGE]
WITHOUT_RIVAL = {"shufflenet_v2": 60, "swin_tiny": 73}

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("name", names())
def test_parameters_are_the_published_ones(name):
    with torch.device("meta"):
        made = get(name).make()
    assert sum(p.numel() for p in made.parameters()) == get(name).parameters


@pytest.mark.parametrize("name", [*SMALL, pytest.param("swin_tiny", marks=pytest.mark.slow)])
def test_removing_half_of_all_channels_matches_torch_pruning_and_is_exact(name):
    model = Model.from_proto(build(name))
    everything, exact, reference = pruned(model), pruned(model, is_exact), zeroed(model, is_exact)
    removed = 100 * (1 - Cost.of(everything).parameters / Cost.of(model).parameters)
    share = WITHOUT_RIVAL[name] if name in WITHOUT_RIVAL else int(TORCH_PRUNING[name])
    assert removed >= share - 0.5  # theirs are known only in whole percents
    onnx.checker.check_model(exact.proto(), full_check=True)
    feeds = get(name).feeds(1)
    expected = run(reference, feeds)
    assert distance(expected, run(exact, feeds)) < EQUAL
    assert distance(run(model, feeds), expected) > 1000 * EQUAL
    assert all(np.isfinite(array).all() for array in run(everything, feeds))


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "squeezenet1_1"])
def test_only_input_and_output_are_fixed(name):
    groups = ChannelGroups.of(Model.from_proto(build(name)))
    fixed = [group.why_fixed for group in groups.groups if not group.is_prunable]
    assert sorted(fixed) == ["graph input 'image'", "graph output 'logits'"]


def test_the_export_computes_the_same_as_torch():
    feeds = get("mnasnet0_5").feeds(2)
    session = ort.InferenceSession(build("mnasnet0_5").SerializeToString(), providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = module("mnasnet0_5")(torch.from_numpy(feeds["image"])).numpy()
    np.testing.assert_allclose(session.run(None, feeds)[0], expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_unknown_name_is_an_error_that_lists_them():
    with pytest.raises(KeyError, match=r"no architecture is called 'resnet19'; there are resnet18, .*swin_tiny"):
        get("resnet19")
