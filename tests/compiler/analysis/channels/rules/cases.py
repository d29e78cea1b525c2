"""Cases of channel rules, and what must hold of each."""

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


def check_zeroing(case: Case) -> None:
    """The groups have the sizes of the case, and the model without channels equals the one with zeros."""
    model = model_of(case)
    assert sorted(group.size for group in ChannelGroups.of(model).prunable) == sorted(case[2])
    result = pruned(model, is_exact)
    onnx.checker.check_model(result.proto(), full_check=True)
    feeds = feeds_for(model)
    assert distance(run(zeroed(model, is_exact), feeds), run(result, feeds)) < 1e-6


def check_halves(case: Case) -> None:
    """Every weight of a prunable group shrinks, and no other."""
    model = model_of(case)
    before = {c.name: np.prod(c.stored.shape) for c in model.constants() if c.stored.dtype.kind == "f"}
    after = {c.name: np.prod(c.stored.shape) for c in pruned(model).constants() if c.stored.dtype.kind == "f"}
    touched = {place.node.inputs[place.slot].name for g in ChannelGroups.of(model).prunable for place, _ in g.places}
    assert all(after[name] < before[name] for name in touched)
    assert {name for name in before if before[name] != after[name]} == touched
