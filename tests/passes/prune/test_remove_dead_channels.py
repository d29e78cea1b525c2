"""Dead channels: on every net all of them are removed and nothing else; on random nets those that brute force finds."""

import itertools

import numpy as np
import onnx
import pytest

from models.nets import build, get, names
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.passes.prune.remove_dead_channels import RemoveDeadChannels
from onnx_compress.passes.simplify.simplify import Simplify
from tests.behaviour import distance, feeds_for, run, serialized
from tests.contexts import context as context_of
from tests.pruning import is_exact, pruned, zeroed

EXACT = 1e-5
HEAD = '<ir_version: 10, opset_import: ["" : 21]>'


def shapes(model: Model) -> list[tuple[tuple[int, ...], ...]]:
    """The shapes of the constants that each node reads, shared or not."""
    read = [[t for t in node.inputs if not t.inputs and t.name] for node in model.nodes()]
    return [tuple(t.shape for t in tensors if t.shape is not None) for tensors in read]


def cleaned(model: Model, **options: bool) -> tuple[Model, int, list[object]]:
    twin = model.clone()
    item = RemoveDeadChannels(**options)
    ctx = context_of(item, twin, model)
    return twin, item.run(twin, ctx), ctx.skips


@pytest.mark.torch
@pytest.mark.parametrize("name", [name for name in names() if name != "multihead"])
def test_zero_channels_are_removed_from_every_net(name):
    model = Model.from_proto(build(name, exporter="torchscript-eval"))
    dense, changed, _ = cleaned(model)
    assert changed == 0
    assert serialized(dense) == serialized(model)
    zero = zeroed(model, is_exact)
    result, changed, _ = cleaned(zero)
    assert changed > 0
    assert shapes(result) == shapes(pruned(model, is_exact))
    onnx.checker.check_model(result.proto(), full_check=True)
    feeds = get(name).feeds(3)
    assert distance(run(zero, feeds), run(result, feeds)) <= EXACT
    assert cleaned(result)[1] == 0


@pytest.mark.torch
@pytest.mark.parametrize("name", ["resnet_basic", "mobilenet_v2", "se_resnet", "densenet", "unet", "yolo", "vit"])
def test_constants_that_are_not_zero_move_or_stay(name):
    """Filters are zero and keep their biases: if padding forbids the removal, the reason is given."""
    model = Model.from_proto(build(name, exporter="torchscript-eval"))
    zero = zeroed(model, is_exact, which=lambda place: place.role == "out")
    result, changed, skips = cleaned(zero)
    feeds = get(name).feeds(3)
    assert changed or skips
    assert distance(run(zero, feeds), run(result, feeds)) <= EXACT


def sparse_net(rng: np.random.Generator, widths: list[int], density: float) -> Model:
    """Gemm, Relu, Gemm, … with most weights and many biases zero."""
    lines, weights, source = [], [], "x0"
    for i, (n, m) in enumerate(itertools.pairwise(widths)):
        weights.append(f"float[{m},{n}] w{i}, float[{m}] b{i}")
        last = i == len(widths) - 2
        lines.append(f"h{i} = Gemm <transB = 1> ({source}, w{i}, b{i})")
        lines.append(f"y = Identity (h{i})" if last else f"x{i + 1} = Relu (h{i})")
        source = f"x{i + 1}"
    text = f"g (float[N,{widths[0]}] x0) => (float[N,{widths[-1]}] y) <{', '.join(weights)}> {{ {' '.join(lines)} }}"
    model = from_text(HEAD + text)
    for constant in model.constants():
        keep = rng.random(constant.shape) < (density if len(constant.shape) == 2 else 0.5)
        edit.replace_values(model, constant, np.where(keep, constant.values, 0).astype(np.float32))
    return model


def brute_force_widths(model: Model) -> list[int]:
    """One channel at a time: unread and constant ones, until nothing changes. A layer keeps at least one."""
    values = {c.name: c.values.astype(np.float64) for c in model.constants()}
    count = sum(name.startswith("w") for name in values)
    weights, biases = [values[f"w{i}"] for i in range(count)], [values[f"b{i}"] for i in range(count)]
    while True:
        found = next(
            (
                (i, j)
                for i in range(count - 1)
                for j in range(len(weights[i]))
                if len(weights[i]) > 1 and (not weights[i][j].any() or not weights[i + 1][:, j].any())
            ),
            None,
        )
        if found is None:
            return [len(w) for w in weights[:-1]]
        i, j = found
        if not weights[i][j].any():
            biases[i + 1] = biases[i + 1] + weights[i + 1][:, j] * max(biases[i][j], 0)
        weights[i], biases[i] = np.delete(weights[i], j, 0), np.delete(biases[i], j)
        weights[i + 1] = np.delete(weights[i + 1], j, 1)


@pytest.mark.parametrize("seed", range(12))
def test_random_sparse_nets_lose_what_brute_force_finds(seed):
    rng = np.random.default_rng(seed)
    model = sparse_net(rng, [8, *rng.integers(4, 40, 4).tolist(), 5], float(rng.uniform(0.03, 0.2)))
    result, _, _ = cleaned(model)
    widths = [len(c.values) for c in result.constants() if c.name.startswith("b")][:-1]
    assert widths == brute_force_widths(model)
    feeds = feeds_for(model)
    assert distance(run(model, feeds), run(result, feeds)) <= EXACT


def test_inputs_are_left_out_and_the_file_shrinks():
    rng = np.random.default_rng(0)
    model = sparse_net(rng, [400, 60, 5], 0.01)
    plain, gathered = cleaned(model)[0], cleaned(model, inputs=True)[0]
    weights = {c.name: c.values for c in plain.constants()}
    used = weights["w0"].any(0)
    assert 0 < used.sum() < 250
    narrow = {c.name: c.values for c in gathered.constants()}["w0"]
    assert np.array_equal(narrow, weights["w0"][:, used])
    assert gathered.file_bytes() < 0.15 * plain.file_bytes()
    feeds = feeds_for(model)
    assert distance(run(model, feeds), run(gathered, feeds)) <= EXACT


def test_origins_follow():
    model = from_text(
        HEAD + "g (float[N,2] x) => (float[N,2] y) <float[2,3] w1, float[3,2] w2 = {1, 2, 0, 0, 3, 4}>"
        "{ a = MatMul (x, w1) y = MatMul (a, w2) }"
    )
    result, _, _ = cleaned(model)
    kept = {c.name: {axis: list(i) for axis, i in c.origin.kept.items()} for c in result.constants()}
    assert kept == {"w1": {1: [0, 2]}, "w2": {0: [0, 2]}}


def test_simplify_first_then_normalizations_spelt_out():
    """A zero scale in a Mul behind a Conv works like one in a BatchNormalization."""
    model = from_text(
        HEAD + "g (float[N,2,4] x) => (float[N,2,4] y)"
        "<float[3,2,1] w1, float[1,3,1] scale = {1, 0, 2}, float[1,3,1] shift, float[2,3,1] w2>"
        "{ a = Conv (x, w1) b = Mul (a, scale) c = Add (b, shift) d = Relu (c) y = Conv (d, w2) }"
    )
    direct, _, _ = cleaned(model)
    simple = model.clone()
    Simplify().run(simple, context_of(Simplify(), simple, model))
    folded, _, _ = cleaned(simple)
    feeds = feeds_for(model)
    for result in (direct, folded):
        assert {c.name: c.shape for c in result.constants()}["w2"] == (2, 2, 1)
        assert distance(run(model, feeds), run(result, feeds)) <= EXACT
