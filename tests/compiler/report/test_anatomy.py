from __future__ import annotations

import io

import numpy as np
from rich.console import Console

from onnx_compress.compiler.analysis.cost import Cost
from onnx_compress.compiler.analysis.storage_report import stored_forms
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.report import anatomy
from tests.small_models import small_model


def shown(model: Model, sizes=None, **options) -> str:
    stream = io.StringIO()
    sizes = sizes or {}
    anatomy.show(model, Cost.of(model, sizes), sizes, Console(file=stream, width=100, highlight=False), **options)
    return "\n".join(" ".join(line.split()) for line in stream.getvalue().splitlines())


def test_the_head_names_signature_operators_and_totals():
    model = small_model("residual")
    model.header.producer_name, model.header.producer_version = "torch", "2.1"
    edit.replace_values(model, next(model.constants()), np.zeros_like(next(model.constants()).values))
    text = shown(model)
    cost = Cost.of(model)
    assert f"parameters {cost.parameters:,}, " in text
    assert "% of them zero" in text
    assert "made by torch 2.1" in text
    assert "input x: float32 [N, 3, 8, 8]" in text
    assert ", batch 1" in text
    assert "stored as" not in text


def test_metadata_is_cut():
    model = small_model("tied")
    model.header.metadata_props.add(key="names", value="a\n" + "b" * 100)
    assert f"names = a {'b' * 58}…" in shown(model)


def test_layers_have_kernel_stride_and_groups():
    text = shown(small_model("separable"))
    assert "grouped Conv 32→32 3×3 g4" in text


def test_small_nodes_are_counted_not_listed():
    model = from_text(
        '<ir_version: 10, opset_import: ["" : 21]> g (float[N,6] x) => (float[N,4] y) <float[6,4] w, float[4] b>'
        '{ ["fc"] h = MatMul (x, w) ["bias"] y = Add (h, b) }'
    )
    text = shown(model)
    assert "1 nodes with fewer than 16 parameters each are not shown" in text
    assert "fc MatMul" in text
    assert "bias" not in text


def test_unknown_macs_name_a_layer():
    model = from_text(
        '<ir_version: 10, opset_import: ["" : 21]> g (float[N,T,6] x) => (float[N,T,9] y) <float[6,9] w>'
        '{ ["fc"] y = MatMul (x, w) }'
    )
    assert "the MACs of 1 layers are unknown, e.g. fc: " in shown(model)
    assert "for x [1, 5, 6]" in shown(model, {"x": [1, 5, 6]})


def test_weights_in_place_of_layers():
    model = small_model("tied")
    text = shown(model, weights=stored_forms(model), packed=1000)
    assert "w 32×32 dense 4.10 kB" in text
    assert "packed 1.00 kB with 'pack'" in text
    assert "operator channels kernel" not in text


def test_the_document_has_every_layer():
    model = small_model("residual")
    cost = Cost.of(model)
    found = anatomy.document(model, cost, {}, weights=stored_forms(model), packed=77)
    assert [layer["name"] for layer in found["layers"]] == [layer.name for layer in cost.layers]
    assert sum(layer["macs"] for layer in found["layers"]) == found["macs"] == cost.macs
    assert (found["bytes"], found["packed_bytes"]) == (cost.bytes, 77)
    assert found["bytes_by_type"] == {"float32": cost.bytes}
    assert {one["name"] for one in found["weights"]} == {one.name for one in stored_forms(model)}
