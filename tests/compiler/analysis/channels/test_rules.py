"""Each operator: its channel groups, and that removing channels equals zeroing them."""

import numpy as np
import onnx
import pytest

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.ir.text import from_text
from tests.behaviour import feeds_for, run
from tests.pruning import distance, is_exact, pruned, zeroed

HEAD = '<ir_version: 10, opset_import: ["" : {opset}]>\n'

# Each case: opset, the text after the head, and the sizes of the prunable groups.
CASES = {
    "conv": (17, """g (float[N,3,8,8] x) => (float[N,5,4,4] y)
        <float[8,3,3,3] a, float[8] b, float[5,8,3,3] c>
        { h = Conv <pads=[1,1,1,1]> (x, a, b) r = Relu (h) y = Conv <pads=[1,1,1,1], strides=[2,2]> (r, c) }""",
        [8]),
    "transposed": (17, """g (float[N,3,8,8] x) => (float[N,5,16,16] y)
        <float[3,8,2,2] a, float[8] b, float[8,5,1,1] c>
        { h = ConvTranspose <strides=[2,2]> (x, a, b) r = Relu (h) y = ConvTranspose (r, c) }""",
        [8]),
    "transposed in groups": (17, """g (float[N,3,8,8] x) => (float[N,5,16,16] y)
        <float[8,3,1,1] a, float[8,2,2,2] b, float[5,8,1,1] c>
        { h = Conv (x, a) k = ConvTranspose <strides=[2,2], group=4> (h, b) y = Conv (k, c) }""",
        [4]),
    "depthwise with multiplier": (17, """g (float[N,3,8,8] x) => (float[N,5,8,8] y)
        <float[8,3,1,1] a, float[16,1,3,3] b, float[5,16,1,1] c>
        { h = Conv (x, a) k = Conv <group=8, pads=[1,1,1,1]> (h, b) y = Conv (k, c) }""",
        [8]),
    "gemm": (17, """g (float[N,6] x) => (float[N,4] y)
        <float[6,8] a, float[8] b, float[4,8] c, float[1,4] d>
        { h = Gemm (x, a, b) r = Tanh (h) y = Gemm <transB=1, alpha=0.5> (r, c, d) }""",
        [8]),
    "matmul from both sides": (17, """g (float[N,6,5] x) => (float[N,4,5] y)
        <float[8,6] a, float[8,1] b, float[4,8] c>
        { h = MatMul (a, x) k = Add (h, b) r = Relu (k) y = MatMul (c, r) }""",
        [8]),
    "einsum": (17, """g (float[N,6] x) => (float[N,4] y) <float[6,8] a, float[8,4] b>
        { h = Einsum <equation="ni,io->no"> (x, a) y = Einsum <equation="no,ok->nk"> (h, b) }""",
        [8]),
    "separate batch norm": (17, """g (float[N,3,4,4] x) => (float[N,4,4,4] y)
        <float[8,3,1,1] a, float[8,1,1] m, float[1,8,1,1] s, float[8,1,1] b, float[4,8,1,1] c>
        { h = Conv (x, a) i = Sub (h, m) j = Mul (i, s) k = Add (j, b) y = Conv (k, c) }""",
        [8]),
    "prelu, clip and where": (17, """g (float[N,3,4,4] x) => (float[N,4,4,4] y)
        <float[8,3,1,1] a, float[8,1,1] slope, float low, float high, float[8,1,1] other,
         bool[4] mask, float[4,8,1,1] c>
        { h = Conv (x, a) p = PRelu (h, slope) q = Clip (p, low, high) w = Where (mask, q, other) y = Conv (w, c) }""",
        [8]),
    "concat of parts": (17, """g (float[N,3,4,4] x) => (float[N,4,4,4] y)
        <float[8,3,1,1] a, float[6,3,1,1] b, float[4,17,1,1] c>
        { h = Conv (x, a) k = Conv (x, b) z = Concat <axis=1> (h, x, k) y = Conv (z, c) }""",
        [8, 6]),
    "split with sizes": (17, """g (float[N,3,4,4] x) => (float[N,4,4,4] y)
        <float[12,3,1,1] a, int64[2] sizes = {4, 8}, float[4,4,1,1] b, float[4,8,1,1] c>
        { h = Conv (x, a) p, q = Split <axis=1> (h, sizes) s = Conv (p, b) t = Conv (q, c) y = Add (s, t) }""",
        [4, 8]),
    "split in halves": (18, """g (float[N,3,4,4] x) => (float[N,4,4,4] y)
        <float[12,3,1,1] a, float[4,6,1,1] c>
        { h = Conv (x, a) p, q = Split <axis=1, num_outputs=2> (h) g = Sigmoid (q) s = Mul (p, g) y = Conv (s, c) }""",
        [6]),
    "split by attribute": (11, """g (float[N,3,4,4] x) => (float[N,4,4,4] y)
        <float[12,3,1,1] a, float[4,4,1,1] b, float[4,8,1,1] c>
        { h = Conv (x, a) p, q = Split <axis=1, split=[4,8]> (h) s = Conv (p, b) t = Conv (q, c) y = Add (s, t) }""",
        [4, 8]),
    "slices": (17, """g (float[N,3,4,4] x) => (float[N,4,4,4] y)
        <float[12,3,1,1] a, int64[1] zero = {0}, int64[1] four = {4}, int64[1] back = {-8},
         int64[1] end = {9223372036854775807}, int64[1] axis = {1}, float[4,4,1,1] b, float[4,8,1,1] c>
        { h = Conv (x, a) p = Slice (h, zero, four, axis) q = Slice (h, back, end, axis)
          s = Conv (p, b) t = Conv (q, c) y = Add (s, t) }""",
        [4, 8]),
    "slice by attributes": (9, """g (float[N,3,4,4] x) => (float[N,4,4,4] y) <float[12,3,1,1] a, float[4,6,1,1] b>
        { h = Conv (x, a) p = Slice <axes=[1], starts=[3], ends=[-3]> (h) y = Conv (p, b) }""",
        [6, 6]),
    "gather of channels": (17, """g (float[N,3,4,4] x) => (float[N,4,4,4] y)
        <float[8,3,1,1] a, int64[6] order = {7, 0, 2, 2, -2, 4}, float[4,6,1,1] b>
        { h = Conv (x, a) p = Gather <axis=1> (h, order) y = Conv (p, b) }""",
        [4, 3]),
    "padded channels": (17, """g (float[N,3,4,4] x) => (float[N,16,4,4] y)
        <float[8,3,1,1] a, int64[8] pads = {0,4,0,0,0,4,0,0}, float[16,3,1,1] b, float[16,16,1,1] c>
        { h = Conv (x, a) p = Pad (h, pads) k = Conv (x, b) s = Add (p, k) y = Conv (s, c) }""",
        [8, 8]),
    "shuffle": (17, """g (float[N,3,4,4] x) => (float[N,4,4,4] y)
        <float[12,3,1,1] a, int64[5] apart = {0,3,4,4,4}, int64[4] flat = {0,-1,4,4}, float[4,12,1,1] b>
        { h = Conv (x, a) p = Reshape (h, apart) q = Transpose <perm=[0,2,1,3,4]> (p) r = Reshape (q, flat)
          y = Conv (r, b) }""",
        [4]),
    "flatten": (17, """g (float[N,3,2,2] x) => (float[N,4] y) <float[8,3,1,1] a, float[32,4] b>
        { h = Conv (x, a) f = Flatten (h) y = Gemm (f, b) }""",
        [8]),
    "depth to space": (17, """g (float[N,3,4,4] x) => (float[N,4,8,8] y) <float[32,3,1,1] a, float[4,8,1,1] b>
        { h = Conv (x, a) s = DepthToSpace <blocksize=2> (h) y = Conv (s, b) }""",
        [8]),
    "depth to space, channels first": (17, """g (float[N,3,4,4] x) => (float[N,4,8,8] y)
        <float[32,3,1,1] a, float[4,8,1,1] b>
        { h = Conv (x, a) s = DepthToSpace <blocksize=2, mode="CRD"> (h) y = Conv (s, b) }""",
        [8]),
    "space to depth": (17, """g (float[N,3,4,4] x) => (float[N,4,2,2] y) <float[8,3,1,1] a, float[4,32,1,1] b>
        { h = Conv (x, a) s = SpaceToDepth <blocksize=2> (h) y = Conv (s, b) }""",
        [8]),
    "expand and tile": (17, """g (float[N,6] x) => (float[N,4] y)
        <float[6,8] a, float[1,1] one, int64[2] shape = {1, 8}, int64[2] repeats = {1, 2}, float[16,4] b>
        { h = MatMul (x, a) e = Expand (one, shape) s = Add (h, e) t = Tile (s, repeats) y = MatMul (t, b) }""",
        [8]),
    "resize to sizes": (17, """g (float[2,3,4,4] x) => (float[2,4,8,8] y)
        <float[8,3,1,1] a, int64[4] sizes = {2,8,8,8}, float[4,8,1,1] b>
        { h = Conv (x, a) s = Resize <mode="nearest"> (h, , , sizes) y = Conv (s, b) }""",
        [8]),
    "resize by scales": (17, """g (float[2,3,4,4] x) => (float[2,4,8,8] y)
        <float[8,3,1,1] a, float[4,8,1,1] b>
        { scales = Constant <value_floats=[1.0,1.0,2.0,2.0]> () h = Conv (x, a)
          s = Resize <mode="nearest"> (h, , scales) y = Conv (s, b) }""",
        [8]),
    "group normalization": (21, """g (float[N,3,4,4] x) => (float[N,4,4,4] y)
        <float[16,3,1,1] a, float[16] s, float[16] b, float[4,16,1,1] c>
        { h = Conv (x, a) n = GroupNormalization <num_groups=4> (h, s, b) y = Conv (n, c) }""",
        [4]),
    "instance normalization": (17, """g (float[N,3,4,4] x) => (float[N,4,4,4] y)
        <float[8,3,1,1] a, float[8] s, float[8] b, float[4,8,1,1] c>
        { h = Conv (x, a) n = InstanceNormalization (h, s, b) y = Conv (n, c) }""",
        [8]),
    "pools and reductions": (17, """g (float[N,3,8,8] x) => (float[N,4] y)
        <float[8,3,1,1] a, float[16,4] b, int64[2] at = {2,3}>
        { h = Conv (x, a) m = MaxPool <kernel_shape=[2,2]> (h) p = GlobalAveragePool (m) f = Squeeze (p, at)
          q = ReduceMax <axes=[2,3], keepdims=0> (h) z = Concat <axis=1> (f, q) y = MatMul (z, b) }""",
        [8]),
    "embedding": (17, """g (int64[N,5] x) => (float[N,5,4] y) <float[10,8] table, float[8,4] b>
        { e = Gather (table, x) y = MatMul (e, b) }""",
        [8]),
    "attention": (17, """g (float[N,5,6] x) => (float[N,5,4] y)
        <float[6,8] q, float[6,8] k, float[6,8] v, float[8,4] o, int64[4] heads = {0,0,4,2}, int64[3] flat = {0,0,8}>
        { a = MatMul (x, q) b = MatMul (x, k) c = MatMul (x, v)
          a1 = Reshape (a, heads) b1 = Reshape (b, heads) c1 = Reshape (c, heads)
          a2 = Transpose <perm=[0,2,1,3]> (a1) b2 = Transpose <perm=[0,2,3,1]> (b1) c2 = Transpose <perm=[0,2,1,3]> (c1)
          s = MatMul (a2, b2) p = Softmax (s) w = MatMul (p, c2) w1 = Transpose <perm=[0,2,1,3]> (w)
          w2 = Reshape (w1, flat) y = MatMul (w2, o) }""",
        [4]),
    "attention as one operator": (23, """g (float[N,5,6] x) => (float[N,5,4] y)
        <float[6,8] q, float[6,8] k, float[6,8] v, float[8,4] o>
        { a = MatMul (x, q) b = MatMul (x, k) c = MatMul (x, v)
          w = Attention <q_num_heads=4, kv_num_heads=4> (a, b, c) y = MatMul (w, o) }""",
        [4]),
    "attention on heads": (23, """g (float[N,5,6] x) => (float[N,5,4] y)
        <float[6,8] q, float[6,8] k, float[6,8] v, float[8,4] o, int64[4] heads = {0,0,4,2}, int64[3] flat = {0,0,8}>
        { a = MatMul (x, q) b = MatMul (x, k) c = MatMul (x, v)
          a1 = Reshape (a, heads) b1 = Reshape (b, heads) c1 = Reshape (c, heads)
          a2 = Transpose <perm=[0,2,1,3]> (a1) b2 = Transpose <perm=[0,2,1,3]> (b1) c2 = Transpose <perm=[0,2,1,3]> (c1)
          w = Attention (a2, b2, c2) w1 = Transpose <perm=[0,2,1,3]> (w)
          w2 = Reshape (w1, flat) y = MatMul (w2, o) }""",
        [4]),
    "lstm": (14, """g (float[5,N,6] x) => (float[5,N,4] y)
        <float[6,8] a, float[2,32,8] w, float[2,32,8] r, float[2,64] b, int64[3] flat = {0,0,16}, float[16,4] o>
        { e = MatMul (x, a) h, hn, cn = LSTM <hidden_size=8, direction="bidirectional"> (e, w, r, b)
          t = Transpose <perm=[0,2,1,3]> (h) f = Reshape (t, flat) y = MatMul (f, o) }""",
        [8, 8]),
    "gru with a state of zeros": (14, """g (float[5,2,6] x) => (float[5,2,4] y)
        <float[1,24,6] w, float[1,24,8] r, int64[3] shape = {1,2,8}, int64[1] one = {1}, float[8,4] o>
        { z = ConstantOfShape (shape) h = GRU <hidden_size=8> (x, w, r, , , z)
          s = Squeeze (h, one) y = MatMul (s, o) }""",
        [8]),
}  # fmt: skip


def model_of(name):
    opset, text, sizes = CASES[name]
    return from_text(HEAD.format(opset=opset) + text), sizes


@pytest.mark.parametrize("name", CASES)
def test_pruning_is_zeroing(name):
    model, sizes = model_of(name)
    assert sorted(group.size for group in ChannelGroups.of(model).prunable) == sorted(sizes)
    result = pruned(model, is_exact)
    onnx.checker.check_model(result.proto(), full_check=True)
    feeds = feeds_for(model)
    assert distance(run(zeroed(model, is_exact), feeds), run(result, feeds)) < 1e-6


@pytest.mark.parametrize("name", CASES)
def test_half_of_the_channels_are_removed_from_every_weight_of_their_group(name):
    model, _ = model_of(name)
    before = {c.name: np.prod(c.stored.shape) for c in model.constants() if c.stored.dtype.kind == "f"}
    after = {c.name: np.prod(c.stored.shape) for c in pruned(model).constants() if c.stored.dtype.kind == "f"}
    touched = {place.node.inputs[place.slot].name for g in ChannelGroups.of(model).prunable for place, _ in g.places}
    assert all(after[name] < before[name] for name in touched)
    assert {name for name in before if before[name] != after[name]} == touched


def test_a_weight_decoded_with_a_table_is_fixed():
    """Two values per byte, as quantize-weights writes 4 bits before opset 21: bytes have no index per channel."""
    model = from_text(
        HEAD.format(opset=17)
        + """g (float[N,3,4,4] x) => (float[N,5,4,4] y)
        <uint8[12] bytes, float[256,2] table, int64[4] shape = {8,3,1,1}, float[8,1,1,1] scale, float[5,8,1,1] c>
        { i = Cast <to=6> (bytes) pairs = Gather (table, i) q = Reshape (pairs, shape) w = Mul (q, scale)
          h = Conv (x, w) y = Conv (h, c) }"""
    )
    groups = ChannelGroups.of(model)
    assert groups.prunable == ()
    assert any("decoded with a table" in (group.why_fixed or "") for group in groups.groups)
    assert pruned(model).proto().SerializeToString() == model.proto().SerializeToString()


def test_embeddings_at_constant_positions_are_not_a_decoding_table():
    model = from_text(
        HEAD.format(opset=17)
        + """g (float[N,4,6] x) => (float[N,4,5] y)
        <float[6,8] a, float[9,8] table, int64[4] positions = {0,1,2,3}, float[8,5] c>
        { h = MatMul (x, a) p = Gather (table, positions) s = Add (h, p) y = MatMul (s, c) }"""
    )
    assert 8 in [group.size for group in ChannelGroups.of(model).prunable]


def test_a_size_that_an_operator_without_a_rule_reads_stays():
    model = from_text(
        HEAD.format(opset=17)
        + """g (float[N,3,8,8] x, float[N,8] z) => (float[N,5,8,8] y, float v)
        <float[8,3,1,1] a, float[5,8,1,1] c, int64[1] one = {1}>
        { h = Conv (x, a) y = Conv (h, c) s = Shape (h) k = Gather (s, one) v, i = TopK (z, k) }"""
    )
    assert ChannelGroups.of(model).prunable == ()
    assert "its length is used by TopK" in (ChannelGroups.of(model).groups[0].why_fixed or "")


def test_operators_of_other_domains_are_known_by_their_domain():
    head = '<ir_version: 10, opset_import: ["" : 17, "com.microsoft" : 1, "other" : 1]>\n'
    text = """g (float[N,6] x) => (float[N,4] y) <float[6,8] a, float[8,4] c>
        { h = MatMul (x, a) r = com.microsoft.QuickGelu (h) y = MatMul (r, c) }"""
    assert [group.size for group in ChannelGroups.of(from_text(head + text)).prunable] == [8]
    assert ChannelGroups.of(from_text(head + text.replace("com.microsoft", "other"))).prunable == ()
