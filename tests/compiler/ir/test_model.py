from __future__ import annotations

import gc
import weakref

import pytest

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text
from tests.behaviour import serialized
from tests.small_models import small_model

BODIES = """<ir_version: 10, opset_import: ["" : 21]>
g (bool c, float[N,4] x) => (float[N,4] y) <float[4,4] w>
{ h = MatMul (x, w) y = If (c) <
    then_branch = t () => (float[N,4] p) <float[4] b> { p = Add (h, b) },
    else_branch = e () => (float[N,4] q) { q = Neg (h) }> }"""


def test_nodes_and_constants_include_those_of_bodies():
    model = from_text(BODIES)
    assert sorted(node.op for node in model.nodes()) == ["Add", "If", "MatMul", "Neg"]
    assert sorted(constant.name for constant in model.constants()) == ["b", "w"]
    assert len(model.graphs()) == 3


def test_sizes(tmp_path):
    model = from_text(BODIES)
    assert model.weight_bytes() == 4 * (16 + 4)
    assert model.disk_bytes is None
    written = model.save(tmp_path / "m.onnx")
    assert written is not None
    size = (tmp_path / "m.onnx").stat().st_size
    assert model.file_bytes() == size
    assert Model.load(tmp_path / "m.onnx").disk_bytes == size


def test_a_skeleton_has_no_large_weights():
    model = from_text(BODIES)
    (placeholder,) = model.skeleton(8).graph.initializer
    assert (placeholder.name, list(placeholder.dims), placeholder.raw_data) == ("w", [4, 4], b"")
    (weight,) = model.skeleton(64).graph.initializer
    assert len(weight.raw_data) == 64


def test_a_twin_maps_nodes_tensors_and_what_holds_them():
    model = small_model("residual")
    twin = model.twin()
    nodes = model.graph.nodes
    assert [twin.of(node) for node in nodes] == list(twin.model.graph.nodes)
    assert twin.of(nodes[0].outputs[0]) is twin.model.graph.nodes[0].outputs[0]
    assert twin.of((nodes[1], [nodes[2]])) == (twin.model.graph.nodes[1], [twin.model.graph.nodes[2]])
    edit.set_attr(twin.model, twin.of(nodes[0]), "group", 1)
    assert serialized(model) == serialized(small_model("residual"))


def test_states_differ_after_an_edit_only():
    model = small_model("residual")
    state, version = model.state, model.version
    twin = model.clone()
    assert twin.state is state
    edit.set_attr(twin, twin.graph.nodes[0], "auto_pad", "NOTSET")
    assert twin.state is not state
    assert (model.state, model.version) == (state, version)


def test_a_model_is_dropped_with_its_last_holder():
    model = small_model("residual")
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_an_existing_file_stays(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"mine")
    with pytest.raises(Exception, match="exists"):
        small_model("tied").save(tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == b"mine"
    small_model("tied").save(tmp_path / "m.onnx", force=True)
    assert Model.load(tmp_path / "m.onnx").opset == 21


@pytest.mark.parametrize(("raw", "message"), [(b"", "empty"), (b"nothing", "m.onnx"), (b"\x08\xff\xff", "m.onnx")])
def test_other_files_are_refused(raw, message, tmp_path):
    (tmp_path / "m.onnx").write_bytes(raw)
    with pytest.raises(ModelError, match=message):
        Model.load(tmp_path / "m.onnx")
