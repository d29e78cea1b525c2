"""Remove residual branches from a graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.analysis.residuals import Residual
from onnx_compress.compiler.ir import edit, ops
from onnx_compress.compiler.ir.graph import Node, Tensor, Variable
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import input_value


@dataclass(frozen=True, eq=False)
class BranchMean:
    """The mean output of a branch: `values` [channels] along `axis` (negative: from the end) of `rank` axes."""

    values: np.ndarray
    axis: int
    rank: int
    dtype: np.dtype
    is_constant: bool
    """Whether the branch always outputs this mean."""

    def spread_out(self) -> np.ndarray:
        """In a shape that broadcasts over the channels of the shortcut."""
        return self.values.astype(self.dtype).reshape(-1, *(1,) * (-1 - self.axis))


def obstacle(model: Model, block: Residual) -> str | None:
    """Why x can't replace y = x + F(x), or None."""
    if not edit.is_output(model, block.add.outputs[0]):
        return None
    source = block.shortcut
    if not source.inputs:
        return "without its branch an output would be an input of the model"
    return "without its branch two outputs would be one" if edit.is_output(model, source) else None


def remove(model: Model, block: Residual, mean: BranchMean | None = None, *, own_aim: bool = False) -> None:
    """Replace y = x + F(x) by y = x, or by y = x + `mean`.

    The mean is added to a bias in front of x if that is equivalent, otherwise in place of F(x). If nothing else
    reads x, the value takes the name and origin of y, so that a refit lets the layer that computes x target the
    former x + F(x) (`own_aim`: it keeps those of x). Of relu(relu(z)) one relu remains, and then z takes the place
    of x + F(x).
    """
    if not _is_there(block) or obstacle(model, block):
        return  # an earlier removed branch contained this one or computed x
    add, total, source = block.add, block.add.outputs[0], block.shortcut
    edit.set_input(model, add, 1 - block.slot, source)
    edit.sweep(model)
    if not _is_there(block):
        return  # nothing read the sum
    is_alone = all(node is add for node, _ in edit.uses(model, source))
    if mean is not None and mean.values.any() and not (is_alone and _shift(model, source, mean)):
        constant = edit.add_constant(model, block.result.name, "mean", mean.spread_out())
        edit.set_input(model, add, 1 - block.slot, constant)
    elif is_alone and not own_aim and edit.bypass(model, add, source, keep_name=True):
        _unite(model, total)
    else:
        edit.bypass(model, add, source)
        _drop_repeated(model, source)
    edit.sweep(model)


def _is_there(block: Residual) -> bool:
    return block.add.graph is not None


def _shift(model: Model, value: Tensor, mean: BranchMean) -> bool:
    """Add `mean` to a constant term of `value`; whether there is one."""
    place = _bias(model, value, mean)
    if place is None:
        return False
    old = input_value(*place)
    assert old is not None
    edit.set_weight(model, *place, (old + mean.values.reshape(old.shape)).astype(old.dtype))
    return True


def _bias(model: Model, value: Tensor, mean: BranchMean) -> tuple[Node, int] | None:
    """The node and slot of a constant that adds one number to each channel of `value` and to nothing else."""
    if not isinstance(value, Variable) or not value.inputs or edit.is_output(model, value):
        return None
    node = value.inputs[0]
    if node.is_op("Add"):
        places = [(node, slot) for slot in (0, 1) if _is_vector(node, slot, mean)]
        terms = [term for term in node.inputs if len(edit.uses(model, term)) == 1]
        return next(iter(places), None) or next(filter(None, (_bias(model, term, mean) for term in terms)), None)
    is_convolution = node.is_op("Conv", "ConvTranspose") and mean.axis + mean.rank == 1
    is_product = node.is_op("Gemm") and mean.axis == -1 and node.attrs.get("beta", 1.0) == 1.0
    return (node, 2) if (is_convolution or is_product) and _is_vector(node, 2, mean) else None


def _is_vector(node: Node, slot: int, mean: BranchMean) -> bool:
    """Whether the node's input there is a constant with one number per channel."""
    bias = input_value(node, slot)
    if bias is None or bias.size != mean.values.size:
        return False
    channels = (len(mean.values), *(1,) * (-1 - mean.axis)) if node.is_op("Add") else (len(mean.values),)
    return bias.shape[max(0, bias.ndim - len(channels)) :] == channels


def _unite(model: Model, value: Tensor) -> None:
    """Replace `value` = act(z) by z if all its readers apply the same act again."""
    first = value.inputs[0]
    readers = [node for node, _ in edit.uses(model, value)]
    if edit.is_output(model, value) or not all(_is_same(first, node) for node in readers):
        return
    source = first.inputs[0]
    if len(edit.uses(model, source)) == 1:
        edit.bypass(model, first, source, keep_name=True)


def _drop_repeated(model: Model, value: Tensor) -> None:
    """Remove readers that apply the act of `value` = act(z) again."""
    if value.inputs:
        for node in dict.fromkeys(node for node, _ in edit.uses(model, value)):
            if _is_same(value.inputs[0], node):
                edit.bypass(model, node, value)


def _is_same(first: Node, second: Node) -> bool:
    """Whether the second node repeats the first, which changes nothing."""
    if not ops.of(first).is_idempotent or (ops.key(second), second.attrs) != (ops.key(first), first.attrs):
        return False
    if len(first.inputs) != len(second.inputs):
        return False
    return all(
        a is b or _is_equal(input_value(first, i), input_value(second, i)) for i, (a, b) in _bounds(first, second)
    )


def _bounds(first: Node, second: Node) -> list[tuple[int, tuple[Tensor, Tensor]]]:
    return list(enumerate(zip(first.inputs, second.inputs)))[1:]


def _is_equal(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is not None and b is not None and bool(np.array_equal(a, b))
