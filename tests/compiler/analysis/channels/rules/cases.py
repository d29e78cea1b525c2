"""Cases of channel rules, and what must hold of each."""

from typing import ClassVar

import numpy as np
import onnx

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text
from tests.behaviour import feeds_for, run
from tests.pruning import distance, is_exact, pruned, zeroed

HEAD = '<ir_version: 10, opset_import: ["" : {opset}]>\n'
Case = tuple[int, str, list[int]]
"""The opset, the text after the head, and the sizes of the prunable groups."""


def model_of(case: Case) -> Model:
    opset, text, _ = case
    return from_text(HEAD.format(opset=opset) + text)


class RuleTests:
    """What must hold of each of the `CASES` of a subclass; the conftest hands them in as `case`."""

    CASES: ClassVar[dict[str, Case]]

    def test_pruning_is_zeroing(self, case):
        """The groups have the sizes of the case, and the model without channels equals the one with zeros."""
        model = model_of(case)
        assert sorted(group.size for group in ChannelGroups.of(model).prunable) == sorted(case[2])
        result = pruned(model, is_exact)
        onnx.checker.check_model(result.proto(), full_check=True)
        feeds = feeds_for(model)
        assert distance(run(zeroed(model, is_exact), feeds), run(result, feeds)) < 1e-6

    def test_half_of_the_channels_are_removed_from_every_weight_of_their_group(self, case):
        model = model_of(case)
        before, after = sizes(model), sizes(pruned(model))
        groups = ChannelGroups.of(model).prunable
        touched = {place.node.inputs[place.slot].name for group in groups for place, _ in group.places}
        assert all(after[name] < before[name] for name in touched)
        assert {name for name in before if before[name] != after[name]} == touched


def sizes(model: Model) -> dict[str, int]:
    """The number of elements of each float constant."""
    return {c.name: int(np.prod(c.stored.shape)) for c in model.constants() if c.stored.dtype.kind == "f"}
