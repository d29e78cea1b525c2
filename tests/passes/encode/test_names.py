from __future__ import annotations

import numpy as np

from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.storage.program import Builder
from onnx_compress.passes.encode._names import Bases, StoredNames

TEXT = """<ir_version: 10, opset_import: ["" : 21]>
g (float[N,4] x, bool c) => (float[N,4] y) <float[4,4] w>
{ h = MatMul (x, w) i2 = Relu (h) ["branch"] y = If (c) <
    then_branch = t () => (float[N,4] p) { p = Neg (i2) },
    else_branch = e () => (float[N,4] q) { q = Abs (i2) }> }"""


def test_bases_are_short_and_distinct():
    bases = Bases(from_text(TEXT))
    assert [bases.of(name) for name in ("conv1.weight", "conv1.width", "c1w", "c1w")] == [
        "c1w",
        "conv1.width",
        "c1w_",
        "c1w__",
    ]


def test_names_of_the_model_are_not_taken():
    model = from_text(TEXT)
    names = StoredNames(Bases(model), model.graph)
    assert names.free("i2") == "i2_"
    assert names.free("i3") == "i3"


def test_names_in_a_body_begin_with_its_node():
    model = from_text(TEXT)
    body = next(model.graph.nodes[2].bodies())
    assert StoredNames(Bases(model), body).free("i3") == "b.i3"


def program(value: int):
    build = Builder("b", 21)
    shared = build.shared("i3", np.array(value))
    return build.program("f", build.step("Neg", shared, out="w"))


def test_parts_that_programs_share_keep_their_names():
    model = from_text(TEXT)
    names = StoredNames(Bases(model), model.graph)
    names.add(program(3))
    assert names.agree(program(3))
    assert names.free("i3") == "i3"


def test_a_name_with_two_contents_is_retired():
    model = from_text(TEXT)
    names = StoredNames(Bases(model), model.graph)
    names.add(program(3))
    assert not names.agree(program(4))
    assert names.free("i3") == "i3_"
    assert "i3" not in names.known
