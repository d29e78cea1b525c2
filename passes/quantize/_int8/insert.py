"""Writing a quantized region: QuantizeLinear and DequantizeLinear around it, integers for its weights.

In the file a unit computes in float between DequantizeLinear and QuantizeLinear; onnxruntime replaces the three with
the integer kernel. A result that must be integer is quantized right behind its unit, and every reader sees the rounded
value. A float value that a unit reads is rounded for that unit alone, so that residual branches and normalizations
that read it too keep their precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Constant, Node, Tensor, Variable
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import constant_of, input_constant
from onnx_compress.passes.quantize._int8.integer_weights import IntegerWeight, IntegerWeights
from onnx_compress.passes.quantize._int8.regions import NodeRole, Unit, source
from onnx_compress.passes.quantize._int8.value_range import Range, affine

INT32_TOP = np.float64(2**31 - 1)


@dataclass(frozen=True)
class Types:
    """Integer types of activations and weights, and the granularity of the weights' scales."""

    activations: np.dtype
    weights: np.dtype
    per_channel: bool = True

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and greatest integer of an activation."""
        info = np.iinfo(self.activations)
        return int(info.min), int(info.max)


@dataclass(frozen=True)
class _Grid:
    """The stored scale and zero point of a value."""

    scale: Constant
    zero: Constant


class Inserter:
    """Quantizes chosen units of one model, in place.

    `ranges` holds the range of each value by name, `integers` the rounded weights of this and other candidates.
    """

    def __init__(
        self,
        model: Model,
        units: list[Unit],
        ranges: Mapping[str, Range],
        types: Types,
        integers: IntegerWeights,
    ) -> None:
        self.model = model
        self.units = units
        self.chosen = {id(unit.result): unit for unit in units}
        self.integer_readers: dict[Tensor, set[Node]] = {}
        """The nodes that read a value as integers."""
        for unit in units:
            for tensor in unit.operands:
                self.integer_readers.setdefault(tensor, set()).add(unit.node)
        self.ranges = ranges
        self.types = types
        self.integers = integers
        self.grids: dict[int, _Grid] = {}
        self.weights: dict[tuple[int, int, bytes], Variable] = {}

    def run(self) -> int:
        """Write all units and return their number. Unread floats are removed."""
        for unit in self.units:
            if unit.kind is NodeRole.WEIGHTED:
                self._weight(unit)
            elif unit.kind is NodeRole.ARITHMETIC:
                self._constants(unit)
        rounded = [unit for unit in self.units if self._rounds_result(unit)]
        behind = {id(unit.result) for unit in rounded}
        inner = self._float_operands(behind)
        for unit in rounded:
            self._round_result(unit)
        for tensor, readers in inner:
            self._round_for(tensor, readers)
        edit.sweep(self.model)
        return len(self.units)

    def _rounds_result(self, unit: Unit) -> bool:
        """Whether all readers see the rounded result: always where the kernel needs it, else if all want it."""
        if unit.needs_integer_result:
            return True
        readers = [reader for reader, _ in edit.uses(self.model, unit.result)]
        is_wanted = bool(readers) and self.integer_readers.get(unit.result, frozenset()).issuperset(readers)
        return is_wanted and not edit.is_output(self.model, unit.result)

    def _float_operands(self, rounded: set[int]) -> list[tuple[Tensor, list[tuple[Node, int]]]]:
        """Values that stay float, each with the slots of units that read it."""
        found: dict[Tensor, list[tuple[Node, int]]] = {}
        for unit in self.units:
            for slot in unit.data:
                tensor = unit.node.inputs[slot]
                if id(tensor) not in rounded:
                    found.setdefault(tensor, []).append((unit.node, slot))
        return list(found.items())

    def _grid(self, tensor: Tensor) -> _Grid:
        origin = source(tensor, self.chosen)
        if id(origin) not in self.grids:
            unit = self.chosen.get(id(origin))
            covered = self.ranges[origin.name]
            if unit is not None:
                covered = covered.within(unit.low, unit.high)
            self.grids[id(origin)] = self._new_grid(origin.name, covered)
        return self.grids[id(origin)]

    def _new_grid(self, name: str, covered: Range) -> _Grid:
        scale, zero = affine(covered, *self.types.bounds)
        return _Grid(
            edit.add_constant(self.model, name, "scale", np.asarray(scale, np.float32)),
            edit.add_constant(self.model, name, "zero", np.asarray(zero, self.types.activations)),
        )

    def _round_result(self, unit: Unit) -> None:
        """Producer → QuantizeLinear → DequantizeLinear → the old name; the range replaces a clamp in between."""
        result = unit.result
        assert isinstance(result, Variable)
        grid = self._grid(result)
        raw = edit.divert(self.model, result, "float")
        if unit.clamp is not None:
            edit.erase(self.model, unit.clamp)
            raw = unit.node.outputs[0]
        rounded = self._quantize(raw, grid, result.name, after=unit.node)
        self._dequantize(rounded.outputs[0], grid, result.name, after=rounded, outputs=[result])

    def _round_for(self, tensor: Tensor, readers: list[tuple[Node, int]]) -> None:
        grid = self._grid(tensor)
        first = min((node for node, _ in readers), key=edit.position)
        rounded = self._quantize(tensor, grid, tensor.name, before=first)
        back = self._dequantize(rounded.outputs[0], grid, tensor.name, after=rounded)
        for node, slot in readers:
            edit.set_input(self.model, node, slot, back.outputs[0])

    def _weight(self, unit: Unit) -> None:
        node = unit.node
        weight = input_constant(node, 1)
        assert weight is not None
        bias = input_constant(node, 2)
        scale_in = self._grid(node.inputs[0]).scale.values.astype(np.float64)
        least = None if bias is None else self._least_scales(bias.values, scale_in)
        decoded, scales = self._decoded(weight, unit, least)
        edit.set_input(self.model, node, 1, decoded)
        if bias is not None:
            self._bias(node, bias, scale_in * scales)

    def _least_scales(self, bias: np.ndarray, scale_in: np.ndarray) -> np.ndarray:
        """The least weight scales with which the bias, in units of input scale times weight scale, fits 32 bits."""
        least = np.abs(bias.reshape(-1).astype(np.float64)) / (INT32_TOP * 0.999) / scale_in
        return np.asarray(least if self.types.per_channel else least.max(keepdims=True))

    def _decoded(self, weight: Constant, unit: Unit, least: np.ndarray | None) -> tuple[Variable, np.ndarray]:
        """The dequantized weight and its scales [channels] or [1], shared by readers with the same requirements."""
        per_channel = self.types.per_channel
        rounded = self.integers.of(weight, unit.axis, self.types.weights, least, per_channel=per_channel)
        key = (id(weight), unit.axis, rounded.scales.tobytes())
        if key not in self.weights:
            self.weights[key] = self._stored(weight, rounded, unit)
        return self.weights[key], rounded.scales.astype(np.float64)

    def _stored(self, weight: Constant, rounded: IntegerWeight, unit: Unit) -> Variable:
        scale = rounded.scales if self.types.per_channel else rounded.scales.reshape(())
        parts = [
            edit.add_constant(self.model, weight.name, "int8", rounded.integers, origin=weight.origin),
            edit.add_constant(self.model, weight.name, "scale", scale),
            edit.add_constant(self.model, weight.name, "zero", np.full(scale.shape, rounded.zero, self.types.weights)),
        ]
        attrs = {"axis": unit.axis} if self.types.per_channel else {}
        node = edit.add_node(
            self.model, "DequantizeLinear", parts, base=weight.name, suffix="dequantized", before=unit.node, attrs=attrs
        )
        return node.outputs[0]

    def _bias(self, node: Node, bias: Constant, scales: np.ndarray) -> None:
        """Store the bias as int32 in units of input scale times weight scale, as the integer kernels add it."""
        integers = np.rint(bias.values.reshape(-1).astype(np.float64) / scales.astype(np.float32).astype(np.float64))
        stored = np.clip(integers, -INT32_TOP, INT32_TOP).astype(np.int32)
        base = bias.name if len(bias.outputs) == 1 else node.outputs[0].name
        scale = scales.astype(np.float32) if self.types.per_channel else scales.astype(np.float32).reshape(())
        parts = [
            edit.add_constant(self.model, base, "int32", stored, origin=bias.origin),
            edit.add_constant(self.model, base, "scale", scale),
        ]
        attrs = {"axis": 0} if self.types.per_channel else {}
        made = edit.add_node(
            self.model, "DequantizeLinear", parts, base=base, suffix="dequantized", before=node, attrs=attrs
        )
        edit.set_input(self.model, node, 2, made.outputs[0])

    def _constants(self, unit: Unit) -> None:
        """Quantize constant operands of an arithmetic node (the addend of an Add), each with its own grid."""
        for slot, tensor in enumerate(unit.node.inputs):
            constant = constant_of(tensor) if slot not in unit.data and tensor.name else None
            if constant is None or constant.stored.dtype != np.float32:
                continue
            values = constant.values
            grid = self._new_grid(constant.name, Range.around(float(values.min()), float(values.max())))
            low, high = self.types.bounds
            integers = np.rint(values / grid.scale.values) + grid.zero.values.astype(np.float64)
            stored = edit.add_constant(
                self.model, constant.name, "int8", np.clip(integers, low, high).astype(self.types.activations)
            )
            made = self._dequantize(stored, grid, constant.name, before=unit.node)
            edit.set_input(self.model, unit.node, slot, made.outputs[0])

    def _quantize(
        self, tensor: Tensor, grid: _Grid, base: str, *, before: Node | None = None, after: Node | None = None
    ) -> Node:
        inputs = [tensor, grid.scale, grid.zero]
        return edit.add_node(
            self.model, "QuantizeLinear", inputs, base=base, suffix="quantized", before=before, after=after
        )

    def _dequantize(
        self,
        tensor: Tensor,
        grid: _Grid,
        base: str,
        *,
        before: Node | None = None,
        after: Node | None = None,
        outputs: list[Variable] | None = None,
    ) -> Node:
        return edit.add_node(
            self.model,
            "DequantizeLinear",
            [tensor, grid.scale, grid.zero],
            base=base,
            suffix="dequantized",
            before=before,
            after=after,
            outputs=outputs,
        )
