import numpy as np
import pytest

from onnx_compress.compiler.analysis.cost import Cost
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.memory import Memory
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text, to_text
from onnx_compress.compiler.ir.weights import input_value
from onnx_compress.compiler.pipeline.api import compress
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.runtime.data.dataset import load
from onnx_compress.compiler.runtime.metrics.divergence import Divergence
from onnx_compress.compiler.runtime.specs import specs
from onnx_compress.passes.prune.prune_blocks import PruneBlocks
from tests.behaviour import run, serialized
from tests.contexts import context
from tests.pruning import distance

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
SHAPES = {"x": (1, 3, 6, 6)}
RESIDUAL = """g (float[N,3,6,6] x) => (float[N,5] y)
<float[8,3,3,3] stem, float[8] stemb, float[8,8,3,3] a1, float[8] a1b, float[8,8,3,3] a2, float[8] a2b,
 float[8,8,3,3] b1, float[8,8,3,3] b2, float[8] b2b, float[16,8,1,1] c1, float[8,16,1,1] c2, float[8] c2b,
 float[5,8] fc>
{
  ["stem"] s = Conv <pads = [1,1,1,1]> (x, stem, stemb)
  ["act"] r = Relu (s)
  ["a1"] aa = Conv <pads = [1,1,1,1]> (r, a1, a1b)
  ["a_act"] ab = Relu (aa)
  ["a2"] ac = Conv <pads = [1,1,1,1]> (ab, a2, a2b)
  ["a_add"] ad = Add (ac, r)
  ["a_out"] ae = Relu (ad)
  ["b1"] ba = Conv <pads = [1,1,1,1]> (ae, b1)
  ["b_act"] bb = Relu (ba)
  ["b2"] bc = Conv <pads = [1,1,1,1]> (bb, b2, b2b)
  ["b_add"] bd = Add (ae, bc)
  ["b_out"] be = Relu (bd)
  ["c1"] ca = Conv (be, c1)
  ["c_act"] cb = Sigmoid (ca)
  ["c2"] cc = Conv (cb, c2, c2b)
  ["c_add"] cd = Add (be, cc)
  ["pool"] p = GlobalAveragePool (cd)
  ["flat"] q = Flatten (p)
  ["fc"] y = Gemm <transB = 1> (q, fc)
}"""
LINEAR = """g (float[N,3,6,6] x) => (float[N,8,6,6] y)
<float[8,3,1,1] stem, float[8] stemb, float[8,8,1,1] one, float[8,8,1,1] two, float[8] twob, float[8,8,3,3] last>
{
  ["stem"] s = Conv (x, stem, stemb)
  ["one"] a = Conv (s, one)
  ["two"] b = Conv (a, two, twob)
  ["add"] c = Add (s, b)
  ["act"] d = Relu (c)
  ["last"] y = Conv <pads = [1,1,1,1]> (d, last)
}"""
FEEDS = {"x": np.random.default_rng(3).standard_normal((96, 3, 6, 6)).astype(np.float32)}


def residual():
    return from_text(HEAD + RESIDUAL)


def linear():
    return from_text(HEAD + LINEAR)


def prune(model: Model, *, real=False, exclude=(), overrides=(), data=None, memory=None, **options) -> Context:
    item = PruneBlocks(**options)
    data = data or FEEDS if real else None
    ctx = context(item, model, data=data, exclude=exclude, overrides=overrides)
    ctx.memory = memory or ctx.memory
    ctx.changed = item.run(model, ctx)
    return ctx


def clear(model: Model, *names: str, bias: bool = False) -> None:
    """Set these layers' weights to zero, with `bias` their biases too."""
    for node in [node for node in model.nodes() if node.name in names]:
        for slot in (1, 2) if bias else (1,):
            edit.set_weight(model, node, slot, np.zeros_like(input_value(node, slot)))


def removed(ctx):
    return [row["branch"] for row in ctx.notes["branches"] if row["removed"]]


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("name", "share"), [("a2", 0.3), ("b2", 0.3), ("c2", 0.05)])
def test_a_branch_with_a_constant_output_is_removed_first_and_nothing_changes(name, share, bias, real):
    model = residual()
    clear(model, name, bias=bias)
    expected = run(model, FEEDS)
    ctx = prune(model, ratio=share, real=real)
    assert removed(ctx) == [f"Conv '{name}'"]
    assert distance(expected, run(model, FEEDS)) < 1e-6
    assert not any(node.name == name for node in model.nodes())


def test_a_branch_that_gives_zero_leaves_nothing_behind():
    model = residual()
    clear(model, "a2", bias=True)
    ctx = prune(model, ratio=0.3)
    assert len(list(residual().nodes())) - len(list(model.nodes())) == 5
    assert ctx.notes["branches"][0]["loss"] == 0
    assert {constant.name for constant in model.constants()} == {
        "stem", "stemb", "b1", "b2", "b2b", "c1", "c2", "c2b", "fc",
    }  # fmt: skip


@pytest.mark.parametrize("real", [False, True])
def test_macs_fall_by_the_ratio(real):
    shares = {}
    for ratio in (0.02, 0.3, 0.6, 0.95):
        model = residual()
        before = Cost.of(model, SHAPES).macs
        ctx = prune(model, ratio=ratio, real=real)
        shares[ratio] = Cost.of(model, SHAPES).macs / before
        assert ctx.changed == len(removed(ctx))
    assert shares[0.02] <= 0.98
    assert shares[0.3] <= 0.7
    assert shares[0.6] <= 0.4
    assert shares[0.95] == pytest.approx(0.0782, abs=1e-4)


def test_an_unreachable_target_is_reported():
    model = residual()
    ctx = prune(model, ratio=0.95)
    assert ctx.changed == 3
    assert ctx.missed == ["removing all removable branches saves 92% of the MACs, 95% requested"]


def test_the_table_names_each_branch_with_its_share_and_what_it_costs_alone():
    model = residual()
    total = Cost.of(model, SHAPES).macs
    ctx = prune(model, ratio=0.3)
    rows = ctx.notes["branches"]
    assert [row["branch"] for row in rows] == ["Conv 'a2'", "Conv 'b2'", "Conv 'c2'"]
    assert [row["macs"] for row in rows] == [round(36 * macs / total, 4) for macs in (1152, 1152, 256)]
    assert all(row["loss"] > 0 for row in rows)
    assert ctx.notes["losses"] == "measured on synthetic inputs"
    cheapest = min((row for row in rows if row["macs"] > 0.3), key=lambda row: row["loss"])
    assert removed(ctx) == [cheapest["branch"]]


def test_the_loss_is_what_the_removal_does_to_the_outputs():
    model, data = residual(), load(FEEDS, specs(residual()).inputs)
    ctx = prune(model, ratio=0.6, real=True, refit=False, fold=False)
    _, held = data.split(0.5)
    losses = {}
    for name in "abc":
        twin = residual()
        clear(twin, f"{name}2", bias=True)
        losses[f"Conv '{name}2'"] = Divergence(residual(), held, 8).of(twin)
    assert {row["branch"]: row["loss"] for row in ctx.notes["branches"]} == pytest.approx(losses, rel=1e-3)


def test_the_layer_before_learns_what_a_linear_branch_did():
    """(I + W₂W₁) · stem computes the sum at once; behind the activation nothing could compensate."""
    far = {}
    for refit in (True, False):
        model = linear()
        expected = run(model, FEEDS)
        ctx = prune(model, ratio=0.15, real=True, refit=refit)
        assert removed(ctx) == ["Conv 'two'"]
        far[refit] = distance(expected, run(model, FEEDS))
    assert far[True] < 1e-4
    assert far[False] > 0.5


def test_refit_leaves_excluded_layers_alone():
    model = linear()
    prune(model, ratio=0.15, real=True, exclude=("stem",))
    np.testing.assert_array_equal(
        input_value(next(node for node in model.nodes() if node.name == "stem"), 1),
        input_value(next(node for node in linear().nodes() if node.name == "stem"), 1),
    )


@pytest.mark.parametrize("net", [linear, residual])
def test_means_over_real_data_bring_the_outputs_closer(net):
    far = {}
    for fold in (True, False):
        model = net()
        for node in [node for node in model.nodes() if node.name in ("two", "a2", "b2", "c2")]:
            edit.set_weight(model, node, 2, input_value(node, 2) + np.float32(1))
        expected = run(model, FEEDS)
        prune(model, ratio=0.15, real=True, fold=fold, refit=False)
        far[fold] = float(np.square(expected[0] - run(model, FEEDS)[0]).mean())
    assert far[True] < 0.4 * far[False]


def test_a_mean_goes_into_a_bias_through_a_sum():
    model = from_text(
        HEAD
        + """g (float[N,8] x) => (float[N,4] y)
    <float[8,8] stem, float[8,8] one, float[8] oneb, float[8,8] two, float[8] twob, float[8,4] last>
    { s = MatMul (x, stem) ["one"] a = MatMul (s, one) ["oneb"] b = Add (oneb, a) ["first"] c = Add (s, b)
      ["two"] d = MatMul (c, two) ["twob"] e = Add (d, twob) ["second"] f = Add (c, e) y = MatMul (f, last) }"""
    )
    before = input_value(next(node for node in model.nodes() if node.name == "oneb"), 0)
    two = input_value(next(node for node in model.nodes() if node.name == "twob"), 1)
    clear(model, "two")
    ctx = prune(model, ratio=0.1)
    assert removed(ctx) == ["MatMul 'two'"]
    after = input_value(next(node for node in model.nodes() if node.name == "oneb"), 0)
    np.testing.assert_allclose(after, before + two, rtol=1e-6)
    assert sum(node.op == "Add" for node in model.nodes()) == 2


def test_a_recipe_keeps_the_branch_of_a_layer():
    model = residual()
    clear(model, "a2", bias=True)
    ctx = prune(model, ratio=0.3, overrides=(("a1", {"ratio": 0}),))
    assert removed(ctx) == ["Conv 'b2'"]
    assert ("Add 'a_add'", "the recipe keeps its branch") in [(skip.where, skip.why) for skip in ctx.skips]


def test_the_last_of_two_branches_stays_where_the_output_would_be_the_input():
    model = from_text(
        HEAD
        + """g (float[N,8] x) => (float[N,8] y) <float[8,8] v, float[8,8] w>
    { ["one"] a = MatMul (x, v) b = Add (x, a) ["two"] c = MatMul (b, w) y = Add (b, c) }"""
    )
    ctx = prune(model, ratio=0.9)
    assert ctx.changed == 1
    (loss,) = [row["loss"] for row in ctx.notes["branches"] if row["removed"]]
    assert loss == min(row["loss"] for row in ctx.notes["branches"])
    assert [node.op for node in model.nodes()] == ["MatMul", "Add"]
    assert ctx.missed == ["removing all removable branches saves 50% of the MACs, 90% requested"]


def test_a_branch_in_a_branch_is_removed_with_it():
    text = """g (float[N,8] x) => (float[N,4] y) <float[8,8] stem, float[8,8] u, float[8,8] v, float[8,8] w,
     float[8,4] last>
    { s = MatMul (x, stem) a = MatMul (s, u) ["in"] b = MatMul (a, v) c = Add (a, b) ["out"] d = MatMul (c, w)
      e = Add (s, d) y = MatMul (e, last) }"""
    model = from_text(HEAD + text)
    clear(model, "out")
    ctx = prune(model, ratio=0.5)
    assert removed(ctx) == ["MatMul 'out'"]
    assert [node.op for node in model.nodes()] == ["MatMul", "MatMul"]
    model = from_text(HEAD + text)
    clear(model, "in")
    expected = run(model, {"x": FEEDS["x"][:, 0, 0, :].repeat(2, 1)[:, :8]})
    assert removed(prune(model, ratio=0.1)) == ["MatMul 'in'"]
    assert distance(expected, run(model, {"x": FEEDS["x"][:, 0, 0, :].repeat(2, 1)[:, :8]})) < 1e-6


def test_a_search_measures_each_set_once(monkeypatch):
    measured = []
    of = Divergence.of
    monkeypatch.setattr(Divergence, "of", lambda self, model: measured.append(to_text(model)) or of(self, model))
    model, memory = residual(), Memory()
    data = load(FEEDS, specs(model).inputs)
    counts = []
    for ratio in (0.02, 0.3, 0.6, 0.3):
        prune(model.clone(), ratio=ratio, real=True, refit=False, data=data, memory=memory)
        counts.append(len(measured))
    assert counts[0] >= 3
    assert counts[-1] == counts[-2]
    assert len(set(measured)) == len(measured)


def test_an_open_ratio_is_found_within_the_budget():
    model = residual()
    clear(model, "b2", bias=True)
    result = compress(model, "prune-blocks", data=FEEDS)
    (item,) = [item for item in result.report.passes if item.name == "prune-blocks"]
    assert item.kept
    assert "Conv 'b2'" in [row["branch"] for row in item.notes["branches"] if row["removed"]]
    assert result.report.output.macs < 0.61 * result.report.input.macs


@pytest.mark.parametrize("real", [False, True])
def test_the_same_command_gives_the_same_bytes(real):
    results = []
    for _ in range(2):
        model = residual()
        prune(model, ratio=0.5, real=real)
        results.append(serialized(model))
    assert results[0] == results[1]


def test_half_precision_keeps_its_type():
    model = from_text(
        HEAD
        + """g (float16[N,8] x) => (float16[N,4] y) <float16[8,8] one, float16[8,8] two, float16[8] twob,
     float16[8,4] last>
    { ["one"] a = MatMul (x, one) ["two"] b = MatMul (a, two) c = Add (b, twob) d = Add (x, c) y = MatMul (d, last) }"""
    )
    clear(model, "two")
    feeds = {"x": FEEDS["x"][:, 0, 0, :].repeat(2, 1)[:, :8].astype(np.float16)}
    expected = run(model, feeds)
    assert prune(model, ratio=0.3).changed == 1
    assert distance(expected, run(model, feeds)) < 1e-3
