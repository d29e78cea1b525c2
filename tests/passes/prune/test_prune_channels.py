import numpy as np
import pytest

from onnx_compress.compiler.analysis.cost import Cost
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.ir.weights import input_value
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.passes.prune.prune_channels import PruneChannels
from tests.behaviour import feeds_for, run, serialized
from tests.contexts import context
from tests.pruning import distance
from tests.small_models import small_model

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
SHAPES = {"x": (1, 3, 8, 8)}
CHAIN = """g (float[N,3,8,8] x) => (float[N,5,8,8] y)
<float[64,3,1,1] a, float[64] b, float[64,64,1,1] c, float[64] d, float[5,64,1,1] e>
{ ["one"] h = Conv (x, a, b) r = Relu (h) ["two"] i = Conv (r, c, d) s = Relu (i) ["three"] y = Conv (s, e) }"""


def chain():
    return from_text(HEAD + CHAIN)


def prune(model: Model, *, real=False, exclude=(), overrides=(), **options) -> Context:
    item = PruneChannels(**options)
    images = np.random.default_rng(3).standard_normal((16, 3, 8, 8)).astype(np.float32)
    ctx = context(item, model, data={"x": images} if real else None, exclude=exclude, overrides=overrides)
    ctx.changed = item.run(model, ctx)
    return ctx


def shapes(model):
    return {c.name: c.stored.shape for c in model.constants()}


STEP = 4 * (64 + 5) / (64 * (3 + 64 + 5))
"""The share of MACs of four channels of the second layer: no step of four channels is larger."""


@pytest.mark.parametrize("criterion", ["obs", "lasso", "energy", "activation", "l1", "l2", "fpgm", "penni", "random"])
@pytest.mark.parametrize("scope", ["global", "uniform"])
def test_macs_fall_by_the_ratio(criterion, scope):
    for ratio in (0.1, 0.3, 0.6):
        model = chain()
        before = Cost.of(model, SHAPES)
        prune(model, ratio=ratio, criterion=criterion, scope=scope, round=4)
        after = Cost.of(model, SHAPES)
        removed = 1 - after.macs / before.macs
        assert ratio <= removed < ratio + STEP
        assert after.parameters < before.parameters


def test_widths_are_multiples_of_the_measured_step():
    model = chain()
    ctx = prune(model, ratio=0.4)
    widths = {model_shapes[0] for name, model_shapes in shapes(model).items() if name in "ac"}
    assert widths <= {16, 32, 48, 64}
    assert ctx.notes["step"] == 16
    assert {w["layer"]: w["after"] for w in ctx.notes["widths"]} == {
        f"Conv '{name}'": shapes(model)[weight][0]
        for name, weight in (("one", "a"), ("two", "c"))
        if shapes(model)[weight][0] < 64
    }


def test_channels_without_energy_are_removed_first_and_their_contribution_is_added_to_the_bias():
    """Half of each layer's channels are constant: removing them changes nothing."""
    model = chain()
    for node, slot in ((n, 1) for n in model.nodes() if n.name in ("one", "two")):
        values = np.array(input_value(node, slot))
        values[::2] = 0
        edit.set_weight(model, node, slot, values)
    feeds = feeds_for(model)
    expected = run(model, feeds)
    prune(model, ratio=0.5, round=1)
    assert distance(expected, run(model, feeds)) < 1e-6


def test_a_layer_without_bias_gets_one():
    model = chain()
    prune(model, ratio=0.1, real=True, overrides=(("two", {"ratio": 0.5}),))
    node = next(n for n in model.nodes() if n.name == "three")
    assert node.inputs[2].name == "e.bias"
    assert input_value(node, 2).shape == (5,)


def test_without_folding_the_constants_are_lost():
    model = chain()
    node = next(n for n in model.nodes() if n.name == "one")
    values = np.array(input_value(node, 1))
    values[::2] = 0
    edit.set_weight(model, node, 1, values)
    feeds = feeds_for(model)
    expected = run(model, feeds)
    prune(model, ratio=0.3, round=1, fold=False)
    assert distance(expected, run(model, feeds)) > 1e-3


def test_means_over_real_data_bring_the_outputs_closer():
    feeds = {"x": np.random.default_rng(3).standard_normal((16, 3, 8, 8)).astype(np.float32)}
    far = {}
    for fold in (True, False):
        model = chain()
        node = next(n for n in model.nodes() if n.name == "two")
        edit.set_weight(model, node, 2, input_value(node, 2) + np.float32(1))
        expected = run(model, feeds)
        prune(model, ratio=0.3, real=True, fold=fold, refit=False)
        far[fold] = float(np.square(expected[0] - run(model, feeds)[0]).mean())
    assert far[True] < 0.15 * far[False]


def with_repeated_channels():
    """The second half of each layer's channels is twice the first half."""
    model = chain()
    for node in [n for n in model.nodes() if n.name in ("one", "two")]:
        for slot in (1, 2):
            values = np.array(input_value(node, slot))
            values[32:] = 2 * values[:32]
            edit.set_weight(model, node, slot, values)
    return model


@pytest.mark.parametrize("scope", ["global", "uniform"])
def test_repeated_channels_are_removed_and_the_refit_makes_up_for_them(scope):
    far = {}
    for options in ({}, {"refit": False}, {"criterion": "energy"}):
        model = with_repeated_channels()
        expected = run(model, feeds_for(model))
        prune(model, ratio=0.6, real=True, round=8, scope=scope, **options)
        far[str(options)] = distance(expected, run(model, feeds_for(model)))
    assert far["{}"] < 1e-3
    assert min(value for key, value in far.items() if key != "{}") > 0.05


def test_lasso_decides_by_what_layers_give():
    """A channel whose readers' weights are tiny is removed, although it is strong itself."""
    model = chain()
    for name, part in (("two", slice(0, 32)), ("three", slice(32, 64))):
        node = next(n for n in model.nodes() if n.name == name)
        values = np.array(input_value(node, 1))
        values[:, part] *= 1e-3
        edit.set_weight(model, node, 1, values)
    ctx = prune(model, ratio=0.6, real=True, round=8, criterion="lasso", scope="uniform", refit=False)
    kept = {c.name: c.origin.kept for c in model.constants()}
    assert ctx.changed == 2
    gone = {name: np.setdiff1d(np.arange(64), kept[name][0]) for name in "ac"}
    assert np.mean(gone["a"] < 32) > 0.8
    assert np.mean(gone["c"] >= 32) > 0.8


def test_refit_leaves_excluded_layers_alone():
    model = chain()
    before = np.array(input_value(next(n for n in model.nodes() if n.name == "three"), 1))
    prune(model, ratio=0.05, real=True, exclude=("three",), round=4)
    after = input_value(next(n for n in model.nodes() if n.name == "three"), 1)
    np.testing.assert_array_equal(after, before)


def test_overrides_hold_with_measured_widths():
    model = chain()
    prune(model, ratio=0.3, real=True, round=4, overrides=(("one", {"ratio": 0.25}),))
    assert shapes(model)["a"][0] == 48


def test_an_excluded_layer_keeps_its_channels_on_both_sides():
    model = chain()
    ctx = prune(model, ratio=0.3, exclude=("two",))
    assert ctx.changed == 0
    assert [skip.why for skip in ctx.skips][:2] == ["a layer coupled to it is excluded"] * 2


def test_a_layer_can_have_a_ratio_of_its_own():
    model = chain()
    prune(model, ratio=0.3, overrides=(("o*", {"ratio": 0.25}),))
    assert shapes(model)["a"][0] == 48
    kept = chain()
    prune(kept, ratio=0.3, overrides=(("two", {"ratio": 0.0}),))
    assert shapes(kept)["c"][0] == 64
    assert shapes(kept)["a"][0] < 64


def test_bn_ranks_by_gamma_and_says_where_there_is_none():
    model = small_model("residual").clone()
    ctx = prune(model, ratio=0.2, criterion="bn")
    assert any("no weights to look at" in skip.why for skip in ctx.skips)
    assert ctx.changed


def test_an_open_ratio_is_the_budgets_to_decide():
    model = chain()
    before = serialized(model)
    ctx = prune(model)
    assert ctx.changed == 0
    assert serialized(model) == before
    assert "ratio is open" in ctx.skips[0].why


def test_the_same_command_gives_the_same_bytes():
    results = []
    for _ in range(2):
        model = chain()
        prune(model, ratio=0.3, criterion="random")
        results.append(serialized(model))
    assert results[0] == results[1]


def test_a_model_that_can_not_go_so_far_goes_as_far_as_it_can():
    model = from_text(
        HEAD
        + """g (float[N,3,8,8] x) => (float[N,64,8,8] y) <float[4,3,1,1] a, float[4] b, float[64,4,1,1] c>
    { h = Conv (x, a, b) y = Conv (h, c) }"""
    )
    ctx = prune(model, ratio=0.9)
    assert shapes(model)["a"][0] == 1
    assert ctx.missed == ["the narrowest widths save 75% of the MACs, 90% requested"]
