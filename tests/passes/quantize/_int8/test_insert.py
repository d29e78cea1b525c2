"""Writing quantized regions: the work for large models."""

from __future__ import annotations

from collections import Counter

import numpy as np

from onnx_compress.compiler.ir.text import from_text
from onnx_compress.passes.quantize._int8.insert import Inserter, Types
from onnx_compress.passes.quantize._int8.integer_weights import IntegerWeights
from onnx_compress.passes.quantize._int8.regions import Unit, candidates
from onnx_compress.passes.quantize._int8.value_range import Range

TYPES = Types(np.dtype(np.uint8), np.dtype(np.int8))


def chain(count):
    """A chain of MatMuls; all but the last pass an integer result to the next."""
    nodes = " ".join(f"a{i + 1} = MatMul (a{i}, w)" for i in range(count))
    head = '<ir_version: 10, opset_import: ["" : 21]>'
    return from_text(f"{head} g (float[N,2] a0) => (float[N,2] a{count}) <float[2,2] w> {{ {nodes} }}")


def reads(count, monkeypatch):
    """How often the operands of a unit are read while `count` units are written."""
    model = chain(count)
    units = candidates(model, lambda node, why: None)
    ranges = {f"a{i}": Range.around(-1.0, 1.0) for i in range(count + 1)}
    seen = Counter()
    operands = Unit.operands.fget
    monkeypatch.setattr(Unit, "operands", property(lambda unit: seen.update(["read"]) or operands(unit)))
    assert Inserter(model, units, ranges, TYPES, IntegerWeights()).run() == count
    monkeypatch.undo()
    rounded = [node for node in model.nodes() if node.op == "QuantizeLinear"]
    assert len(rounded) == count  # the input and the inputs of MatMuls; the output stays float
    return seen["read"]


def test_twice_the_units_take_twice_the_work(monkeypatch):
    few, many = reads(20, monkeypatch), reads(40, monkeypatch)
    assert many == 2 * few
