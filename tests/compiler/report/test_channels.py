"""`inspect --groups`: every group with its width, its layers and, if it is fixed, the reason."""

import io

import pytest
from rich.console import Console

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.report.channels import document, show
from onnx_compress.compiler.report.plain import written

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
ATTENTION = """g (float[N,5,6] x) => (float[N,5,4] y)
<float[6,8] q, float[6,8] k, float[6,8] v, float[8,4] o, int64[4] heads = {0,0,4,2}, int64[3] flat = {0,0,8},
 float[5,5] near, float[5,5] far>
{ ["query"] a = MatMul (x, q) ["key"] b = MatMul (x, k) ["value"] c = MatMul (x, v)
  a1 = Reshape (a, heads) b1 = Reshape (b, heads) c1 = Reshape (c, heads)
  a2 = Transpose <perm=[0,2,1,3]> (a1) b2 = Transpose <perm=[0,2,3,1]> (b1) c2 = Transpose <perm=[0,2,1,3]> (c1)
  s = MatMul (a2, b2) ["near"] s1 = Add (s, near) ["far"] s2 = Add (s1, far) p = Softmax (s2) w = MatMul (p, c2)
  w1 = Transpose <perm=[0,2,1,3]> (w) w2 = Reshape (w1, flat) ["out"] y = MatMul (w2, o) }"""
NORM = """g (float[N,6] x) => (float[N,4] y) <float[6,8] a, float[8] s, float[8,4] b>
{ ["in"] h = MatMul (x, a) ["norm"] n = LayerNormalization (h, s) ["out"] y = MatMul (n, b) }"""


def stream(blocks: int) -> str:
    """A residual stream of 16 channels through `blocks` blocks, the last of which narrows to the output."""
    weights = ", ".join(f"float[16,8] a{i}, float[8,16] b{i}" for i in range(blocks))
    nodes = " ".join(
        f'["up{i}"] p{i} = MatMul (h{i}, a{i}) ["down{i}"] q{i} = MatMul (p{i}, b{i}) h{i + 1} = Add (h{i}, q{i})'
        for i in range(blocks)
    )
    return f"""g (float[N,3] x) => (float[N,4] y) <float[3,16] s, float[16,4] e, {weights}>
    {{ ["stem"] h0 = MatMul (x, s) {nodes} ["end"] y = MatMul (h{blocks}, e) }}"""


def shown(text: str, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    groups = ChannelGroups.of(from_text(HEAD + text))
    written(console, lambda: show(groups, console))
    return console.file.getvalue()


def test_widths_layers_and_reasons_of_an_attention():
    lines = shown(ATTENTION, 100).splitlines()
    assert lines[0] == "1 of 9 channel groups can be pruned"
    assert "   4 × 2     176  query, key, value" in lines
    assert lines[lines.index("   4 × 2     176  query, key, value") + 1].strip() == "→ out"
    fixed = lines[lines.index("channels  params  fixed") :]
    assert fixed[1].split() == ["6", "48", "→", "query"]
    assert fixed[2].strip() == "reason: graph input 'x'"
    # Both axes of two tables have no layer and the same reason: one entry.
    assert sum("constants that near, far read" in line for line in fixed) == 1


def test_groups_coupled_by_a_normalization_say_so():
    assert "but LayerNormalization 'norm' normalizes over it: removing even zeros changes the rest" in shown(NORM, 120)


@pytest.mark.parametrize("width", [80, 120])
def test_lines_fit_and_names_stay_whole(width):
    out = shown(stream(20), width)
    assert all(len(line) <= width for line in out.splitlines())
    words = out.replace(",", " ").split()
    assert {"stem", "up19", "down19", "end"} <= set(words)
    assert "and 16 more" in " ".join(words)
    assert out.endswith("--json names all layers\n")


def test_few_layers_are_all_listed():
    assert "--json" not in shown(NORM, 80)


def test_json_names_every_weight():
    groups = ChannelGroups.of(from_text(HEAD + ATTENTION))
    found = next(document(group) for group in groups.groups if group.is_prunable)
    assert (found["size"], found["multiplicity"], found["parameters"]) == (4, 2, 6 * 8 * 3 + 8 * 4)
    assert found["reason"] is None
    assert {"layer": "out", "input": 1, "axis": 0, "role": "in", "per_set": 2} in found["weights"]


def test_weights_behind_identity_count_too():
    text = """g (float[N,6] x) => (float[N,4] y) <float[6,8] a, float[8,4] b>
    { i = Identity (a) h = MatMul (x, i) r = Relu (h) y = MatMul (r, b) }"""
    groups = ChannelGroups.of(from_text(HEAD + text))
    assert [document(group)["parameters"] for group in groups.prunable] == [6 * 8 + 8 * 4]
