"""Convolutions and matrix products: their channel groups, and that removing channels equals zeroing them."""

from tests.compiler.analysis.channels.rules.cases import Case, RuleTests

CASES: dict[str, Case] = {
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
}  # fmt: skip


class TestRules(RuleTests):
    CASES = CASES
