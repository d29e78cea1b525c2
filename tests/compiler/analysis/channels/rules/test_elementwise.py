"""Element-wise operators: their channel groups, and that removing channels equals zeroing them."""

from tests.compiler.analysis.channels.rules.cases import Case, RuleTests

CASES: dict[str, Case] = {
    "separate batch norm": (17, """g (float[N,3,4,4] x) => (float[N,4,4,4] y)
        <float[8,3,1,1] a, float[8,1,1] m, float[1,8,1,1] s, float[8,1,1] b, float[4,8,1,1] c>
        { h = Conv (x, a) i = Sub (h, m) j = Mul (i, s) k = Add (j, b) y = Conv (k, c) }""",
        [8]),
    "prelu, clip and where": (17, """g (float[N,3,4,4] x) => (float[N,4,4,4] y)
        <float[8,3,1,1] a, float[8,1,1] slope, float low, float high, float[8,1,1] other,
         bool[4] mask, float[4,8,1,1] c>
        { h = Conv (x, a) p = PRelu (h, slope) q = Clip (p, low, high) w = Where (mask, q, other) y = Conv (w, c) }""",
        [8]),
}  # fmt: skip


class TestRules(RuleTests):
    CASES = CASES
