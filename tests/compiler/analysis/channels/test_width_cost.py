from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.analysis.channels.width_cost import WidthCost
from onnx_compress.compiler.analysis.cost import Cost, node_macs
from onnx_compress.compiler.ir.graph import Node
from onnx_compress.compiler.ir.text import from_text
from tests.pruning import pruned
from tests.small_models import small_model

CHAIN = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,3,8,8] x) => (float[N,5,8,8] y) <float[64,3,1,1] a, float[128,64,1,1] c, float[5,128,1,1] e>
{ h = Conv (x, a) i = Conv (h, c) y = Conv (i, e) }"""


def test_macs_by_widths():
    model = from_text(CHAIN)
    cost = WidthCost(model, ChannelGroups.of(model))
    assert cost.sizes.tolist() == [64, 128]
    for kept in ([64, 128], [10, 128], [10, 7], [1, 1]):
        a, b = kept
        assert cost.products(np.array(kept)).tolist() == [64 * 3 * a, 64 * a * b, 64 * b * 5]
        assert cost.macs(np.array(kept)) == 64 * (3 * a + a * b + 5 * b)


@pytest.mark.parametrize("name", ["residual", "separable", "tied", "recurrent"])
def test_macs_are_those_of_the_model_before_and_after(name):
    model = small_model(name)
    inputs = {"x": (5, 1, 8)} if name == "recurrent" else {}
    cost = WidthCost(model, ChannelGroups.of(model), inputs)
    assert cost.macs(cost.sizes) == Cost.of(model, inputs).macs
    counted = node_macs(model, inputs)
    products = Counter[Node]()  # a recurrent node has several
    for node, count in zip(cost.nodes, cost.products(cost.sizes), strict=True):
        products[node] += int(count)
    assert products == {node: counted[node] for node in cost.nodes}
    assert cost.macs(-(-cost.sizes // 2)) == Cost.of(pruned(model), inputs).macs


def test_an_axis_counts_the_channels_of_each_group_and_the_fixed_ones():
    text = CHAIN.replace("float[5,128,1,1] e", "float[5,131,1,1] e").replace(
        "y = Conv (i, e)", "j = Concat <axis=1> (i, x) y = Conv (j, e)"
    )
    model = from_text(text)
    groups = ChannelGroups.of(model)
    cost = WidthCost(model, groups)
    place = next(p for g in groups.prunable for p, _ in g.places if p.node.outputs[0].name == "y")
    assert cost.row(place.atoms).tolist() == [0, 1, 3]
