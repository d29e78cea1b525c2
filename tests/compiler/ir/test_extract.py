from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.ir.extract import ancestors, constant_part, extract, node_part
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.runtime.session import create

FLOAT = 1
MODEL = """<ir_version: 10, opset_import: ["" : 21]>
g (float[N,4] x, float[N,4] z, bool flag) => (float[N,4] y)
<float[4,4] a, float[4,4] b, int64[2] sizes = {2,2}>
{
  h = MatMul (x, a)
  p, q = Split <axis = 1> (h, sizes)
  c = Concat <axis = 1> (q, p)
  i = If (flag) <
    then_branch = yes () => (float[N,4] t) { t = MatMul (c, b) },
    else_branch = no () => (float[N,4] e) { e = Add (c, h) }
  >
  y = Add (i, z)
}"""


def values(model):
    return {out.name: out for node in model.graph.nodes for out in node.outputs} | {t.name: t for t in model.inputs()}


def test_a_part_computes_the_same_values_as_the_whole():
    model = from_text(MODEL)
    named = values(model)
    rng = np.random.default_rng(0)
    feeds = {name: rng.standard_normal((3, 4)).astype(np.float32) for name in "xz"} | {"flag": np.array(False)}
    whole = create(model, outputs=["h", "c", "i"]).run(feeds)
    part = extract(model, {named["h"]: (FLOAT, 2), named["flag"]: (9, 0)}, [named["i"], named["c"]])
    assert [node.op for node in part.graph.nodes] == ["Split", "Concat", "If"]
    assert sorted(c.name for c in part.graph.initializers) == ["b", "sizes"]
    got = create(part).run({"h": whole["h"], "flag": feeds["flag"]})
    np.testing.assert_array_equal(got["i"], whole["i"])
    np.testing.assert_array_equal(got["c"], whole["c"])


def test_a_node_with_another_output_is_cut_in_two():
    model = from_text(MODEL)
    named = values(model)
    part = extract(model, {named["h"]: (FLOAT, 2), named["p"]: (FLOAT, 2)}, [named["c"]])
    h = np.arange(8, dtype=np.float32).reshape(2, 4)
    got = create(part).run({"h": h, "p": -h[:, :2]})
    np.testing.assert_array_equal(got["c"], np.concatenate([h[:, 2:], -h[:, :2]], 1))


def test_the_model_stays_unchanged():
    model = from_text(MODEL)
    before, named = model.proto(), values(model)
    part = extract(model, {named["x"]: (FLOAT, 2)}, [named["c"]])
    part.graph.nodes[0].inputs[1] = part.graph.nodes[0].inputs[0]
    assert model.proto() == before


def test_a_missing_input_is_an_error():
    model = from_text(MODEL)
    named = values(model)
    with pytest.raises(ValueError, match="the outputs also need 'flag'"):
        extract(model, {named["h"]: (FLOAT, 2)}, [named["i"]])


def test_ancestors_see_into_bodies():
    model = from_text(MODEL)
    named = values(model)
    assert {node.op for node in ancestors(model.graph, [named["i"]])} == {"MatMul", "Split", "Concat", "If"}
    assert {node.op for node in ancestors(model.graph, [named["i"]], stop=[named["c"], named["h"]])} == {"If"}


def test_what_depends_on_constants_is_a_part_without_inputs():
    model = from_text(
        """<ir_version: 10, opset_import: ["" : 21]>
        g (float[4] x) => (float[4] y) <float[4] a> { b = Neg (a) c, d = Split <num_outputs = 2> (b)
          e = Concat <axis = 0> (d, c) y = Add (x, e) }"""
    )
    named = values(model)
    part = constant_part(model, model.graph.nodes[:3], [named["e"], named["c"]])
    assert not part.inputs()
    assert not {tensor.name for tensor in (*part.graph.outputs, *part.constants())} & {"a", "b", "c", "d", "e"}
    got = [create(part).run({})[out.name] for out in part.graph.outputs]
    a = next(model.constants()).values
    np.testing.assert_array_equal(got[0], -np.concatenate([a[2:], a[:2]]))
    np.testing.assert_array_equal(got[1], -a[:2])


def test_a_node_reads_the_values_that_it_is_given():
    model = from_text(
        '<ir_version: 10, opset_import: ["" : 21]> g (float[N] x, float top) => (float[N] y) { y = Clip (x, , top) }'
    )
    part = node_part(model, model.graph.nodes[0], [np.array([-1, 0, 5], np.float32), None, np.array(2, np.float32)])
    (got,) = create(part).run({}).values()
    assert got.tolist() == [-1, 0, 2]
    assert [tensor.name for tensor in model.graph.nodes[0].inputs] == ["x", "", "top"]
