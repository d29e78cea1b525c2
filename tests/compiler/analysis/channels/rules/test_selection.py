"""Operators that select, join or repeat: their channel groups, and that removing channels equals zeroing them."""

from tests.compiler.analysis.channels.rules.cases import Case, RuleTests

CASES: dict[str, Case] = {
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
    "resize to sizes": (17, """g (float[2,3,4,4] x) => (float[2,4,8,8] y)
        <float[8,3,1,1] a, int64[4] sizes = {2,8,8,8}, float[4,8,1,1] b>
        { h = Conv (x, a) s = Resize <mode="nearest"> (h, , , sizes) y = Conv (s, b) }""",
        [8]),
    "resize by scales": (17, """g (float[2,3,4,4] x) => (float[2,4,8,8] y)
        <float[8,3,1,1] a, float[4,8,1,1] b>
        { scales = Constant <value_floats=[1.0,1.0,2.0,2.0]> () h = Conv (x, a)
          s = Resize <mode="nearest"> (h, , scales) y = Conv (s, b) }""",
        [8]),
    "embedding": (17, """g (int64[N,5] x) => (float[N,5,4] y) <float[10,8] table, float[8,4] b>
        { e = Gather (table, x) y = MatMul (e, b) }""",
        [8]),
}  # fmt: skip


class TestRules(RuleTests):
    CASES = CASES
