"""What the walk over a graph sees besides single operators."""

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.ir.text import from_text
from tests.pruning import pruned

HEAD = '<ir_version: 10, opset_import: ["" : {opset}]>\n'


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
