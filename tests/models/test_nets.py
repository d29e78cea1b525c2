"""Every builder: a valid model with the same outputs in onnxruntime as its module in torch."""

import subprocess
import sys

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper

from models.nets import NETS, build, get, module, names
from models.nets.export import Exporter, export
from models.nets.weights import BATCH_NORMS

TORCHSCRIPT = [(name, exporter) for name in names() for exporter in ("torchscript", "torchscript-eval")]
FEW = ["resnet_basic", "tied", "shufflenet_v2", "yolo", "group_norm"]
DYNAMO = [(name, exporter) for name in FEW for exporter in ("dynamo", "dynamo-raw")]
DYNAMO_SLOW = [
    pytest.param(name, exporter, marks=pytest.mark.slow)
    for name in names()
    for exporter in ("dynamo", "dynamo-raw")
    if name not in FEW and (exporter == "dynamo" or name in ("bilstm", "swin"))
]


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def run_torch(net: torch.nn.Module, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    with torch.inference_mode():
        out = net(*[torch.from_numpy(array) for array in feeds.values()])
    return [y.numpy() for y in (out if isinstance(out, tuple) else (out,))]


def op_types(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.torch
@pytest.mark.parametrize(("name", "exporter"), [*TORCHSCRIPT, *DYNAMO, *DYNAMO_SLOW])
def test_valid_and_equal_to_torch_at_batch_1_and_3(name, exporter):
    model = build(name, exporter=exporter)
    onnx.checker.check_model(model, full_check=True)
    for batch in (1, 3):
        feeds = get(name).feeds(batch)
        actual, expected = run(model, feeds), run_torch(module(name), feeds)
        assert len(actual) == len(expected) == len(model.graph.output)
        for a, e in zip(actual, expected):
            assert a.shape == e.shape
            assert a.shape[0] == batch
            np.testing.assert_allclose(a, e, rtol=0, atol=1e-5 * np.abs(e).max())


@pytest.mark.torch
@pytest.mark.parametrize("name", names())
def test_batch_is_dynamic_and_signature_is_as_declared(name):
    graph, net = build(name).graph, get(name)
    assert [i.name for i in graph.input] == [i.name for i in net.inputs]
    assert [o.name for o in graph.output] == list(net.outputs)
    assert {v.type.tensor_type.shape.dim[0].dim_param for v in (*graph.input, *graph.output)} == {"N"}


@pytest.mark.torch
@pytest.mark.parametrize("name", names())
def test_outputs_are_well_scaled_and_every_sample_differs(name):
    feeds = get(name).feeds(batch=4)
    for output in run(build(name), feeds):
        assert 0.1 < output.std() < 10
        assert output.std(axis=0).mean() > 0.01


@pytest.mark.torch
@pytest.mark.parametrize("name", names())
def test_half_the_widths_keeps_the_signature_and_leaves_few_parameters(name):
    net = get(name)
    feeds = net.feeds(batch=2)
    half, full = module(name, shrink=2), module(name)
    assert [y.shape for y in run_torch(half, feeds)] == [y.shape for y in run_torch(full, feeds)]
    assert sum(p.numel() for p in full.parameters()) == net.parameters() < 300_000
    # A quarter where both sides of a weight shrink; half where one side is an input, an output or fixed.
    assert 0.25 * net.parameters() <= net.parameters(shrink=2) < 0.55 * net.parameters()


@pytest.mark.torch
@pytest.mark.parametrize("name", [n for n in names() if not NETS[n].fresh])
def test_batch_normalization_is_kept_and_each_of_its_constants_matters(name):
    model = build(name)
    expected = sum(isinstance(m, BATCH_NORMS) for m in module(name).modules())
    weights = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}
    found = [node for node in model.graph.node if node.op_type == "BatchNormalization"]
    assert len(found) == expected
    for node in found:
        gamma, beta, mean, variance = (weights[i] for i in node.input[1:])
        assert min(gamma.std(), beta.std(), mean.std(), variance.std()) > 0.1


@pytest.mark.torch
@pytest.mark.parametrize("exporter", ["torchscript", pytest.param("dynamo", marks=pytest.mark.slow)])
def test_same_seed_same_bytes(exporter):
    first, again = (export(module("tied"), get("tied"), Exporter(exporter), 20) for _ in range(2))
    assert first.SerializeToString(deterministic=True) == again.SerializeToString(deterministic=True)


@pytest.mark.torch
def test_another_seed_gives_other_weights():
    first, other = build("tied"), build("tied", seed=1)
    assert op_types(first) == op_types(other)
    for a, b in zip(first.graph.initializer, other.graph.initializer):
        assert a.dims == b.dims
        assert a.raw_data != b.raw_data


@pytest.mark.torch
def test_same_bytes_in_another_process_with_another_hash_seed():
    code = (
        "import sys, models.nets as n; sys.stdout.buffer.write(n.build('yolo').SerializeToString(deterministic=True))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONHASHSEED": "7", "PYTHONPATH": "."}, capture_output=True, check=True
    )
    assert other.stdout == build("yolo").SerializeToString(deterministic=True)


def test_build_gives_each_caller_a_copy():
    build("lstm").graph.ClearField("node")
    assert op_types(build("lstm"))


def test_unknown_name_is_an_error_that_lists_the_nets():
    with pytest.raises(KeyError, match=r"no net is called 'resnet'; there are resnet_basic, .*swin"):
        build("resnet")


@pytest.mark.torch
def test_fresh_normalizations_share_their_initializers_through_identity():
    model = build("equal_tensors")
    constants = {w.name for w in model.graph.initializer}
    shared = [n for n in model.graph.node if n.op_type == "Identity" and n.input[0] in constants]
    assert len(shared) >= 15


@pytest.mark.torch
@pytest.mark.parametrize("exporter", list(Exporter))
def test_tied_weights_are_one_initializer_with_two_readers(exporter):
    readers = [i for node in build("tied", exporter=exporter).graph.node for i in node.input]
    assert readers.count("project.weight") == 2
    # Folding two different normalizations into the one convolution gives two weights.
    assert readers.count("twice.weight") == (0 if exporter is Exporter.TORCHSCRIPT_EVAL else 2)


STRUCTURES = {
    "resnext": {"Conv"},
    "mobilenet_v2": {"Clip"},
    "mobilenet_v3": {"HardSwish", "HardSigmoid"},
    "shufflenet_v2": {"Slice", "Concat", "Reshape", "Transpose"},
    "unet": {"ConvTranspose", "Concat"},
    "unet_resize": {"Resize"},
    "pixel_shuffle": {"DepthToSpace"},
    "vgg": {"Flatten"},
    "resnet_option_a": {"Slice", "Pad"},
    "prelu": {"PRelu"},
    "instance_norm": {"InstanceNormalization"},
    "convnext": {"LayerNormalization", "Gelu"},
    "bilstm": {"LSTM"},
    "bigru": {"GRU"},
    "text_lstm": {"Gather"},
    "yolo": {"Split", "Softmax", "MaxPool"},
    "deeplab": {"Resize", "GlobalAveragePool"},
}


@pytest.mark.torch
@pytest.mark.parametrize("name", STRUCTURES)
def test_the_structure_is_in_the_graph(name):
    assert set(op_types(build(name))) >= STRUCTURES[name]


@pytest.mark.torch
def test_a_later_opset_has_its_operators():
    model = build("group_norm", exporter="dynamo", opset=21)
    assert model.opset_import[0].version == 21
    assert op_types(model).count("GroupNormalization") == 3


@pytest.mark.torch
def test_grouped_and_depthwise_convolutions_stay_grouped():
    def groups(name: str) -> set[int]:
        nodes = [n for n in build(name).graph.node if n.op_type == "Conv"]
        return {a.i for n in nodes for a in n.attribute if a.name == "group"}

    assert groups("resnext") == {1, 8}
    assert groups("regnet") == {1, 2, 4}
    assert groups("mobilenet_v2") == {1, 96, 192}
