"""Attention as one operator: their channel groups, and that removing channels equals zeroing them."""

from tests.compiler.analysis.channels.rules.cases import Case, RuleTests

CASES: dict[str, Case] = {
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
}  # fmt: skip


class TestRules(RuleTests):
    CASES = CASES
