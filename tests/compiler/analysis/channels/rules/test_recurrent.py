"""Recurrent layers: their channel groups, and that removing channels equals zeroing them."""

from tests.compiler.analysis.channels.rules.cases import Case, RuleTests

CASES: dict[str, Case] = {
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


class TestRules(RuleTests):
    CASES = CASES
