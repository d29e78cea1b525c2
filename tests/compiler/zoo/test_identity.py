"""Load → save is the identity, field by field; the comparison finds every kind of difference."""

from __future__ import annotations

import onnx
import pytest

from onnx_compress.compiler.zoo.fetch import default_cache, is_cached
from onnx_compress.compiler.zoo.identity import differences, round_trip
from onnx_compress.compiler.zoo.locate import locate
from onnx_compress.compiler.zoo.manifest import load_manifest

TEXT = """
<ir_version: 10, opset_import: ["" : 17], producer_name: "p", metadata_props: ["k": "v"]>
g (float[N,2] x) => (float[N,2] y) <float[2,2] w = {1, 2, 3, 4}> { y = MatMul (x, w) }
"""


@pytest.mark.parametrize("entry", [e for e in load_manifest() if e.short], ids=lambda e: e.name)
def test_load_and_save_change_no_field(entry, tmp_path):
    assert round_trip(locate(entry, tmp_path, tmp_path)) == []


@pytest.mark.network
@pytest.mark.parametrize("entry", [e for e in load_manifest() if not e.short], ids=lambda e: e.name)
def test_load_and_save_change_no_field_of_a_downloaded_model(entry, tmp_path):
    if entry.source == "wheel" and not is_cached(entry, default_cache()):
        pytest.skip("not fetched")
    assert round_trip(locate(entry, default_cache(), tmp_path)) == []


def _set_presence(model):
    model.graph.node[0].name = ""


def _rename(model):
    model.graph.node[0].name = "n"


def _redim(model):
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "M"


def _drop_metadata(model):
    del model.metadata_props[:]


def _change_weight(model):
    model.graph.initializer[0].float_data[3] = 5.0


def _bump(model):
    model.ir_version = 9


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (_rename, "model.graph.node[0].name is set in only one of the two"),
        (_redim, "model.graph.input[0].type.tensor_type.shape.dim[0].dim_param was 'N', is 'M'"),
        (_drop_metadata, "model.metadata_props had 1 entries, has 0"),
        (_change_weight, "model.graph.initializer[0].float_data[3] was 4.0, is 5.0"),
        (_bump, "model.ir_version was 10, is 9"),
    ],
)
def test_each_difference_is_found_and_named(change, place):
    model, twin = onnx.parser.parse_model(TEXT), onnx.parser.parse_model(TEXT)
    assert list(differences(model, twin)) == []
    change(twin)
    assert list(differences(model, twin)) == [place]
