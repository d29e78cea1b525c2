from __future__ import annotations

import pytest

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.ir.weights import input_value
from onnx_compress.passes.quantize._int8.floats import Sensitivity, as_notes, fewest, rank
from onnx_compress.passes.quantize.quantize_int8 import QuantizeInt8
from tests.contexts import context

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,8] x) => (float[N,8] y) <float[8,8] a, float[8,8] b, float[8,8] c>
{ ["one"] h = MatMul (x, a) ["two"] i = MatMul (h, b) ["three"] y = MatMul (i, c) }"""


def test_the_layer_whose_change_moves_the_outputs_most_is_first():
    model = from_text(TEXT)
    shares = {"one": 0.01, "two": 0.3, "three": 0.0}

    def quantize(layers):
        changed = model.clone()
        for node in list(changed.nodes()):
            if node.name in layers:
                edit.set_weight(changed, node, 1, input_value(node, 1) * (1 + shares[node.name]))
        return changed

    ranking = rank(model, list(shares), quantize, context(QuantizeInt8(), model))
    assert [item.layer for item in ranking] == ["two", "one", "three"]
    # Scaling by 1 + s leaves an error of s: −20 log₁₀ s decibels.
    assert [item.sqnr_db for item in ranking] == pytest.approx([10.46, 40.0, 200.0], abs=0.05)
    assert as_notes(ranking)[0] == {"layer": "two", "sqnr_db": round(ranking[0].sqnr_db, 2)}


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_the_fewest_floats_are_found_in_few_tries(count):
    names = [str(i) for i in range(count)]
    for needed in range(1, count + 1):
        tried = []
        assert fewest(names, lambda k, at=needed, seen=tried: seen.append(k) or k >= at) == needed
        assert len(tried) <= count.bit_length()
        assert not {0, count} & set(tried)


def test_layers_of_equal_effect_stay_in_order():
    model = from_text(TEXT)
    ranking = rank(model, ["one", "two"], lambda layers: model, context(QuantizeInt8(), model))
    assert ranking == [Sensitivity("one", 200.0), Sensitivity("two", 200.0)]
