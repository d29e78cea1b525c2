"""If, Loop and Scan: channel groups cross the boundaries of bodies, and their removal is exact there too."""

import numpy as np
import onnx
import pytest

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.ir.text import from_text
from tests.behaviour import feeds_for, run
from tests.pruning import distance, is_exact, pruned, zeroed

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'

# Each case: the text, the sizes of the prunable groups, and fixed feeds.
CASES = {
    "branches": ("""g (bool c, float[N,8] x) => (float[N,4] y)
        <float[8,16] a, float[16,16] w, float[16,12] b, float[16,10] d, float[10,12] e, float[12,4] f>
        { h = MatMul (x, a) r = Relu (h) k = MatMul (r, w)
          z = If (c) <then_branch = then () => (float[N,12] p) { p = MatMul (k, b) },
                      else_branch = other () => (float[N,12] q) { u = MatMul (k, d) v = Relu (u) q = MatMul (v, e) }>
          y = MatMul (z, f) }""",
        [16, 16, 12, 10], [{"c": np.array(True)}, {"c": np.array(False)}]),
    "a branch returns an outer value": ("""g (bool c, float[N,8] x) => (float[N,4] y)
        <float[8,16] a, float[16,16] w, float[16,4] f>
        { h = MatMul (x, a)
          z = If (c) <then_branch = then () => (float[N,16] p) { p = MatMul (h, w) },
                      else_branch = other () => (float[N,16] q) { q = Identity (h) }>
          y = MatMul (z, f) }""",
        [16], [{"c": np.array(True)}, {"c": np.array(False)}]),
    "convolutions in a loop": ("""g (int64 n, float[N,3,6,6] x) => (float[N,4,6,6] y, float[K,N,5,6,6] all)
        <float[16,3,1,1] a, bool yes = {1}, float[4,16,1,1] f>
        { h = Conv (x, a)
          last, all = Loop (n, yes, h) <body = body (int64 i, bool go, float[N,16,6,6] s)
            => (bool go2, float[N,16,6,6] t, float[N,5,6,6] o)
            <float[12,16,3,3] w, float[12] bias, float[16,12,1,1] v, float[5,12,1,1] b> {
            go2 = Identity (go) m = Conv <pads=[1,1,1,1]> (s, w, bias) r = Relu (m) q = Conv (r, v) t = Add (s, q)
            o = Conv (r, b) }>
          y = Conv (last, f) }""",
        [16, 12], [{"n": np.array(1)}, {"n": np.array(3)}]),
    "a state that is a constant": ("""g (int64 n, float[2,8] x) => (float[2,4] y)
        <float[2,16] start, bool yes = {1}, float[16,4] f>
        { last = Loop (n, yes, start) <body = body (int64 i, bool go, float[2,16] s) => (bool go2, float[2,16] t)
            <float[8,16] w, float[16,16] v> {
            go2 = Identity (go) m = MatMul (x, w) q = MatMul (s, v) u = Add (m, q) t = Tanh (u) }>
          y = MatMul (last, f) }""",
        [16], [{"n": np.array(0)}, {"n": np.array(2)}]),
    "a scan": ("""g (float[N,8] x, float[N,T,6] xs) => (float[N,4] y, float[T,N,5] all)
        <float[8,16] a, float[16,4] f>
        { h = MatMul (x, a)
          last, all = Scan <num_scan_inputs=1, scan_input_axes=[1], body = body (float[N,16] s, float[N,6] e)
            => (float[N,16] t, float[N,5] o)
            <float[16,12] w, float[12,16] v, float[12,5] b, float[6,12] z> {
            m = MatMul (s, w) k = MatMul (e, z) mk = Add (m, k) r = Relu (mk) q = MatMul (r, v) t = Add (s, q)
            o = MatMul (r, b) }> (h, xs)
          y = MatMul (last, f) }""",
        [16, 12], [{}]),
    "outputs stacked by a scan": ("""g (float[N,3] x, float[5,N,6] xs) => (float[N,5,4] y) <float[16,4] f>
        { all = Scan <num_scan_inputs=1, scan_output_axes=[1], body = body (float[N,6] e) => (float[N,16] o)
            <float[6,16] z> { k = MatMul (e, z) o = Relu (k) }> (xs)
          y = MatMul (all, f) }""",
        [16], [{}]),
    "an If in a loop": ("""g (int64 n, bool c, float[N,8] x) => (float[N,4] y)
        <float[8,16] a, bool yes = {1}, float[16,16] w, float[16,4] f>
        { h = MatMul (x, a)
          last = Loop (n, yes, h) <body = body (int64 i, bool go, float[N,16] s) => (bool go2, float[N,16] t) {
            go2 = Identity (go)
            t = If (c) <then_branch = then () => (float[N,16] p) { p = MatMul (s, w) },
                        else_branch = other () => (float[N,16] q) { q = Neg (s) }> }>
          y = MatMul (last, f) }""",
        [16], [{"n": np.array(2), "c": np.array(True)}, {"n": np.array(2), "c": np.array(False)}]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_pruning_is_zeroing_inside_bodies_too(name):
    text, sizes, settings = CASES[name]
    model = from_text(HEAD + text)
    assert sorted(group.size for group in ChannelGroups.of(model).prunable) == sorted(sizes)
    result, reference = pruned(model, is_exact), zeroed(model, is_exact)
    onnx.checker.check_model(result.proto(), full_check=True)
    for setting in settings:
        feeds = feeds_for(model) | setting
        assert distance(run(reference, feeds), run(result, feeds)) < 1e-6


FIXED = {
    "it is read in a body (SequenceMap 'ys')": """g (seq(float[N,16]) xs, float[N,8] x) => (seq(float[N,16]) ys)
        <float[8,16] a>
        { h = MatMul (x, a)
          ys = SequenceMap <body = body (float[N,16] e) => (float[N,16] o) { o = Add (e, h) }> (xs) }""",
    "its shape changes between iterations of Loop 'last'": """g (int64 n, float[N,8] x) => (float[N,K] y)
        <float[8,1] a, float[8,16] u, bool yes = {1}>
        { h = MatMul (x, a) k = MatMul (x, u)
          last = Loop (n, yes, h) <body = body (int64 i, bool go, float[N,D] s) => (bool go2, float[N,D2] t)
            <float[16,16] v> { go2 = Identity (go) m = Add (s, k) t = MatMul (m, v) }>
          y = Identity (last) }""",
    "If 'z' has results of several ranks": """g (bool c, float[N,8] x) => (float y)
        <float[8,16] a, int64[1] one = {0}>
        { h = MatMul (x, a)
          z = If (c) <then_branch = then () => (float[N,16] p) { p = Relu (h) },
                      else_branch = other () => (float[1,N,16] q) { q = Unsqueeze (h, one) }>
          y = ReduceSum <keepdims=0> (z) }""",
    "If 'z' outputs a constant": """g (bool c, float[2,8] x) => (float[2,4] y)
        <float[8,16] a, float[2,16] k, float[16,4] f>
        { h = MatMul (x, a)
          z = If (c) <then_branch = then () => (float[2,16] p) { p = Relu (h) },
                      else_branch = other () => (float[2,16] q) { q = Identity (k) }>
          y = MatMul (z, f) }""",
    "Scan 'all' iterates over it": """g (float[N,8] x, float[8,T] w) => (float[16,N] all) <float[8,16] a>
        { h = MatMul (x, a)
          all = Scan <num_scan_inputs=1, scan_input_axes=[1], body = body (float[N] e) => (float[N] o)
            { o = Relu (e) }> (h) }""",
}  # fmt: skip


@pytest.mark.parametrize("why", FIXED)
def test_axes_that_a_body_does_not_keep_are_fixed(why):
    groups = ChannelGroups.of(from_text(HEAD + FIXED[why]))
    assert not groups.prunable
    assert why in [group.why_fixed for group in groups.groups]
