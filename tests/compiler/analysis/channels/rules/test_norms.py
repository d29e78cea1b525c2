"""Normalizations, pools and reductions: their channel groups, and that removing channels equals zeroing them."""

from tests.compiler.analysis.channels.rules.cases import Case, RuleTests

CASES: dict[str, Case] = {
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
}  # fmt: skip


class TestRules(RuleTests):
    CASES = CASES
