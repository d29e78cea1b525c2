"""encode: behaviour that only whole models show."""

from __future__ import annotations

import time

import numpy as np
import onnx
import pytest

import onnx_compress
from onnx_compress.compiler.analysis.cost import Cost
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.encoded import EncodedTensor
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.opset import raise_opset
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.pipeline import registry
from onnx_compress.compiler.pipeline.settings import Settings
from onnx_compress.compiler.runtime import session
from onnx_compress.compiler.storage.structure import Structure
from tests.behaviour import feeds_for, run
from tests.contexts import context
from tests.small_models import small_model

HEAD = '<ir_version: 8, opset_import: ["" : 17]>'
THREE = f"""{HEAD} g (float[N,64] x) => (float[N,64] y) <float[64,64] a, float[64,64] b, float[64,64] c>
{{ p = MatMul (x, a) q = MatMul (p, b) y = MatMul (q, c) }}"""


def encode(model: Model, form: str = "auto") -> int:
    item = registry.find("encode")(form=form)
    return item.run(model, context(item, model))


def forms(model: Model) -> dict[str, str]:
    return {c.name: c.stored.form for c in model.constants() if isinstance(c.stored, EncodedTensor)}


def sparse_ones(seed: int, shape: tuple[int, ...] = (64, 64), density: float = 0.1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return ((rng.random(shape) < density) * rng.integers(1, 5, shape)).astype(np.float32)


def three(density: float = 0.1) -> Model:
    """Three layers with few non-zeros."""
    model = from_text(THREE)
    for i, constant in enumerate(list(model.constants())):
        edit.replace_values(model, constant, sparse_ones(i, density=density))
    return model


def test_small_weights_share_a_program():
    together, apart = three(), 0
    assert encode(together) == 3
    assert forms(together) == dict.fromkeys("abc", "gaps")
    assert len({id(c.stored.encoding) for c in together.constants()}) == 1
    for one in range(3):
        model = three()
        weights = list(model.constants())
        for constant in (w for i, w in enumerate(weights) if i != one):
            values = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
            edit.replace_values(model, constant, values)
        before = model.file_bytes()
        encode(model)
        apart += before - model.file_bytes()
    assert three().file_bytes() - together.file_bytes() > apart + 200


def test_a_stack_with_a_changed_weight_is_written_plain_and_encoded_again():
    model = three()
    encode(model)
    changed = model.clone()
    values = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    edit.replace_values(changed, next(c for c in changed.constants() if c.name == "b"), values)
    assert {t.name for t in changed.proto().graph.initializer} == {"a", "b", "c"}
    feeds = feeds_for(model)
    assert not np.allclose(run(changed, feeds)[0], run(model, feeds)[0])
    assert encode(changed) == 2
    assert set(forms(changed)) == {"a", "c"}
    assert forms(model) == dict.fromkeys("abc", "gaps")


def test_a_weight_with_several_readers_is_stored_once():
    model = small_model("tied")
    weight = next(c for c in model.constants() if c.name == "w")
    edit.replace_values(model, weight, sparse_ones(0, (32, 32)))
    plain = model.clone()
    assert encode(model) == 1
    assert len(weight.outputs) == 2
    feeds = feeds_for(model)
    assert np.array_equal(run(model, feeds)[0], run(plain, feeds)[0])
    again = Model.from_proto(model.proto())
    assert len(next(c for c in again.constants() if c.name == "w").outputs) == 2


def test_names_do_not_collide_with_those_of_the_model():
    text = f"""{HEAD} g (float[N,64] x) => (float[N,64] y, float[64] s64x64)
    <float[64,64] w, float[64] "w.c", float[64] "w.i", float[64] i0>
    {{ a = MatMul (x, w) b = Add (a, "w.c") y = Add (b, i0) s64x64 = Neg ("w.i") }}"""
    model = from_text(text)
    edit.replace_values(model, next(model.constants()), sparse_ones(0, density=1.0))
    plain = model.clone()
    assert encode(model) == 1
    onnx.checker.check_model(model.proto(), full_check=True)
    feeds = feeds_for(model)
    assert all(map(np.array_equal, run(model, feeds), run(plain, feeds)))
    assert forms(Model.from_proto(model.proto())) == {"w": "packed"}


@pytest.mark.parametrize("form", ["codebook", "packed", "gaps", "bitmask", "sparse", "scaled", "tile"])
def test_each_form_on_demand(form):
    model = from_text(THREE)
    for i, constant in enumerate(list(model.constants())):
        values = np.tile(sparse_ones(i, (16, 64), density=0.05), (4, 1)) * np.float32(0.5)
        edit.replace_values(model, constant, values, Structure(scale=np.full((1, 1), 0.5, np.float32)))
    plain = model.clone()
    assert encode(model, form) == 3
    feeds = feeds_for(model)
    assert np.array_equal(run(model, feeds)[0], run(plain, feeds)[0])
    assert model.file_bytes() < plain.file_bytes()
    if form == "sparse":
        assert len(model.proto().graph.sparse_initializer) == 3
    else:
        assert forms(model) == dict.fromkeys("abc", form)
    assert encode(model, form) in (0, 3)
    assert encode(model, "dense") == 3
    assert model.proto().SerializeToString() == plain.proto().SerializeToString()


def test_the_figures_count_stored_bytes():
    model = three()
    plain = Cost.of(model)
    encode(model)
    cost = Cost.of(model)
    assert (cost.parameters, cost.nonzero, cost.macs) == (plain.parameters, plain.nonzero, plain.macs)
    assert cost.bytes < model.file_bytes() < cost.bytes + 1200
    program = next(c.stored.encoding.program for c in model.constants() if isinstance(c.stored, EncodedTensor))
    shared = program.nbytes() - program.nbytes(frozenset(program.shared()))
    graph = three().file_bytes() - 3 * 64 * 64 * 4
    stored = sum(layer.bytes for layer in cost.layers) + shared
    assert stored == pytest.approx(model.file_bytes() - graph, rel=0.03)
    assert model.file_bytes() == len(model.proto().SerializeToString())


def test_the_saved_size_is_the_reported_size(tmp_path):
    model = three()
    encode(model)
    model.save(tmp_path / "small.onnx")
    assert (tmp_path / "small.onnx").stat().st_size == model.file_bytes()
    loaded = Model.load(tmp_path / "small.onnx")
    assert forms(loaded) == forms(model)
    loaded.save(tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "small.onnx").read_bytes()


def test_negative_zeros_become_zeros():
    model = from_text(THREE)
    constant = next(model.constants())
    edit.replace_values(model, constant, np.where(sparse_ones(0) > 0, np.float32(3), np.float32(-0.0)))
    encode(model)
    assert not np.signbit(constant.values).any()


def test_raising_the_opset_keeps_the_forms():
    model = three()
    encode(model)
    assert raise_opset(model, 21) is None
    assert forms(model) == dict.fromkeys("abc", "gaps")
    assert encode(model) == 0


def test_quantized_weights_are_encoded_too(tmp_path):
    text = """<ir_version: 10, opset_import: ["" : 21]> g (float[1,8,9,9] x) => (float[1,64,7,7] y)
    <float s, uint8 z, int8[64,8,3,3] w, float t, int8 zero>
    { q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) v = DequantizeLinear (w, t, zero)
      c = Conv (d, v) r = QuantizeLinear (c, s, z) y = DequantizeLinear (r, s, z) }"""
    model = from_text(text)
    weight = next(c for c in model.constants() if c.name == "w")
    rng = np.random.default_rng(0)
    edit.replace_values(model, weight, rng.integers(-3, 3, weight.shape).astype(np.int8))
    for name in ("s", "t"):
        scale = next(c for c in model.constants() if c.name == name)
        edit.replace_values(model, scale, np.array(0.1, np.float32))
    plain = model.clone()
    assert encode(model) == 1
    assert forms(model) == {"w": "packed"}
    from tests.compiler.storage.forms.test_folding import optimized

    found = optimized(model, tmp_path / "a.onnx")
    assert found == optimized(plain, tmp_path / "b.onnx")
    assert "QLinearConv" in found[0]


def test_a_session_runs_stored_weights():
    model = three()
    plain = model.clone()
    encode(model)
    feeds = {"x": np.ones((2, 64), np.float32)}
    expected = session.create(plain).run(feeds)["y"]
    for optimize in (True, False):
        assert np.array_equal(session.create(model, optimize=optimize).run(feeds)["y"], expected)


def test_speed():
    """20 MB of weights per second on one core."""
    rng = np.random.default_rng(0)
    text = f"{HEAD} g (float[N,2048] x) => (float[N,2048] y) <float[2048,2048] w> {{ y = MatMul (x, w) }}"
    dense = rng.standard_normal((2048, 2048)).astype(np.float32)
    kinds = [dense, np.sign(dense), np.where(dense > 1.5, dense, 0), np.where(dense > 1.5, np.rint(dense * 4), 0)]
    for values in kinds:
        model = from_text(text)
        edit.replace_values(model, next(model.constants()), values.astype(np.float32))
        started = time.process_time()
        encode(model)
        assert values.size * 4e-6 / (time.process_time() - started) > 20


@pytest.mark.parametrize("ceiling", [None, 12])
def test_an_old_model_is_raised_where_that_pays(ceiling):
    head = '<ir_version: 5, opset_import: ["" : 9]>'
    model = from_text(THREE.replace(HEAD, head))
    item = registry.find("encode")()
    assert item.run(model, context(item, model)) == 0
    assert model.opset == 9
    for constant in list(model.constants()):
        edit.replace_values(model, constant, sparse_ones(0))
    plain = model.clone()
    ctx = context(item, model, data=feeds_for(model), settings=Settings(opset=ceiling))
    assert item.run(model, ctx) == (3 if ceiling is None else 0)
    assert model.opset == (13 if ceiling is None else 9)
    assert [skip.why.partition(", and ")[2] for skip in ctx.skips] == (
        ["the opset is limited to 12"] if ceiling else []
    )
    feeds = feeds_for(plain)
    assert np.array_equal(run(model, feeds)[0], run(plain, feeds)[0])


def test_simplify_leaves_stored_weights_stored():
    model = three()
    encode(model)
    loaded = Model.from_proto(model.proto())
    item = registry.find("simplify")()
    assert item.run(loaded, context(item, loaded)) == 0
    assert loaded.proto().SerializeToString() == model.proto().SerializeToString()


def test_every_pipeline_ends_with_it(tmp_path):
    model = small_model("clustered")
    result = onnx_compress.compress(model, "simplify")
    last = result.report.passes[-1]
    assert (last.name, last.kept, last.changed) == ("encode", True, 3)
    result.save(tmp_path / "small.onnx")
    assert result.report.output.bytes == (tmp_path / "small.onnx").stat().st_size < 0.25 * model.file_bytes()
    raw = onnx_compress.compress(model, "simplify", settings=Settings(raw=True))
    assert [one.name for one in raw.report.passes] == ["simplify"]
    again = onnx_compress.compress(tmp_path / "small.onnx", "simplify")
    assert [one.changed for one in again.report.passes] == [0, 0]


@pytest.mark.parametrize("name", [name for name in registry.names() if name != "encode"])
def test_a_pass_treats_stored_weights_like_plain_ones(name):
    plain = small_model("clustered")
    stored = plain.clone()
    assert encode(stored) == 3
    stored = Model.from_proto(stored.proto())
    assert len(forms(stored)) == 3
    item = registry.find(name)()
    half = item.strengths[len(item.strengths) // 2]
    item = item.with_options(**{item.strength: half}) if item.is_open() and item.strength else item
    changed = [item.run(model, context(item, model, small_model("clustered"))) for model in (plain, stored)]
    assert changed[0] == changed[1]
    feeds = feeds_for(plain)
    assert all(map(np.array_equal, run(plain, feeds), run(stored, feeds)))
