from onnx_compress.compiler.analysis.channels.integers import UNKNOWN, Integers
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.runtime.shapes.inference import infer

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,12,4] x) => (float y)
<int64 one = {1}, int64 three = {3}, int64[1] zero = {0}, int64[1] first = {0}, int64[1] two = {2},
 int64[1] last = {-1}>
{
  s = Shape (x)
  c = Gather (s, one)
  third = Div (c, three)
  c1 = Unsqueeze (third, zero)
  n1 = Slice (s, first, two)
  both = Concat <axis = 0> (n1, c1, last)
  cast = Cast <to = 7> (both)
  bigger = Mul (cast, two)
  same = Equal (cast, last)
  filled = Where (same, two, cast)
  f = Cast <to = 1> (c)
  y = Sqrt (f)
}"""


def followed():
    model = from_text(TEXT)
    shapes = infer(model)
    integers = Integers(lambda tensor: shapes.shape(tensor.name))
    for node in model.nodes():
        integers.follow(node)
    tensors = {out.name: out for node in model.nodes() for out in node.outputs}
    return model, integers, tensors


def test_values_are_followed_element_by_element():
    _, integers, tensors = followed()
    assert integers.of(tensors["s"]).tolist() == [UNKNOWN, 12, 4]
    assert integers.of(tensors["c"]).tolist() == 12
    assert integers.of(tensors["both"]).tolist() == [UNKNOWN, 12, 4, -1]
    assert integers.of(tensors["bigger"]).tolist() == [UNKNOWN, 24, 8, -2]


def test_an_unknown_length_is_not_minus_one():
    _, integers, tensors = followed()
    assert integers.of(tensors["filled"]).tolist() == [UNKNOWN, 12, 4, 2]


def test_the_source_shapes_are_known_until_integers_become_floats():
    model, integers, tensors = followed()
    assert integers.sources[tensors["both"]] == frozenset(model.graph.inputs)
    assert integers.of(tensors["f"]) is None
    assert tensors["f"] not in integers.sources
    assert tensors["y"] not in integers.sources


def test_a_list_needs_all_elements():
    model, integers, _ = followed()
    concat = next(node for node in model.nodes() if node.op == "Concat")
    assert integers.list_of(concat, 0) is None
    assert integers.list_of(concat, 1) == [4]
