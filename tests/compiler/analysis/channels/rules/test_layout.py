"""Operators that move data: their channel groups, and that removing channels equals zeroing them."""

from tests.compiler.analysis.channels.rules.cases import Case, RuleTests

CASES: dict[str, Case] = {
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
    "attention": (17, """g (float[N,5,6] x) => (float[N,5,4] y)
        <float[6,8] q, float[6,8] k, float[6,8] v, float[8,4] o, int64[4] heads = {0,0,4,2}, int64[3] flat = {0,0,8}>
        { a = MatMul (x, q) b = MatMul (x, k) c = MatMul (x, v)
          a1 = Reshape (a, heads) b1 = Reshape (b, heads) c1 = Reshape (c, heads)
          a2 = Transpose <perm=[0,2,1,3]> (a1) b2 = Transpose <perm=[0,2,3,1]> (b1) c2 = Transpose <perm=[0,2,1,3]> (c1)
          s = MatMul (a2, b2) p = Softmax (s) w = MatMul (p, c2) w1 = Transpose <perm=[0,2,1,3]> (w)
          w2 = Reshape (w1, flat) y = MatMul (w2, o) }""",
        [4]),
}  # fmt: skip


class TestRules(RuleTests):
    CASES = CASES
