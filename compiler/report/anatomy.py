"""The structure of a model: signature, totals, layers and channel groups, for the terminal and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

from rich.console import Console
from rich.table import Table
from rich.text import Text

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.analysis.cost import Cost, LayerCost
from onnx_compress.compiler.analysis.storage_report import DENSE, StoredForm, bytes_by_form
from onnx_compress.compiler.ir.graph import Constant
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.report import channels, quantities
from onnx_compress.compiler.report.plain import hanging, table
from onnx_compress.compiler.runtime.specs import specs

Sizes: TypeAlias = Mapping[str, Sequence[int]]
LONGEST_VALUE = 60
SMALL = 16
"""Least number of parameters for which a layer without MACs is shown."""


def show(
    model: Model,
    cost: Cost,
    sizes: Sizes,
    console: Console,
    *,
    groups: ChannelGroups | None = None,
    weights: Sequence[StoredForm] | None = None,
    packed: int | None = None,
) -> None:
    """Print the layers, or the channel groups, or the weights.

    `sizes` are the input shapes for which MACs are computed, `packed` the bytes of the packed file.
    """
    console.print(_head(model, cost, sizes, packed))
    console.print()
    if weights is not None:
        console.print(_weights(weights))
    if groups is not None:
        channels.show(groups, console)
    if weights is not None or groups is not None:
        return
    console.print(_layers(cost))
    for note in _notes(cost):
        console.print(hanging("!", note, "yellow"))


def _notes(cost: Cost) -> Iterator[str]:
    yield from cost.notes
    if cost.unknown:
        first = next(layer for layer in cost.layers if layer.macs is None)
        yield f"the MACs of {len(cost.unknown)} layers are unknown, e.g. {first.name}: {first.note}"
    small = sum(map(_is_small, cost.layers))
    if small:
        yield f"{small} nodes with fewer than {SMALL} parameters each are not shown (--json has them)"


def _is_small(layer: LayerCost) -> bool:
    return layer.macs == 0 and layer.parameters < SMALL


def _head(model: Model, cost: Cost, sizes: Sizes, packed: int | None) -> Table:
    grid = table(header=False)
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in _facts(model, cost, sizes):
        grid.add_row(label, Text(text))
    if packed is not None:
        grid.add_row("packed", Text(f"{quantities.size(packed)} with 'pack'"))
    return grid


def _facts(model: Model, cost: Cost, sizes: Sizes) -> Iterator[tuple[str, str]]:
    signature = specs(model)
    yield "opset", _versions(model)
    for label, group in (("input", signature.inputs), ("output", signature.outputs)):
        for spec in group:
            yield label, str(spec)
    for key, value in model.metadata.items():
        shown = " ".join(value.split())
        yield "metadata", f"{key} = {shown[:LONGEST_VALUE]}{'…' if len(shown) > LONGEST_VALUE else ''}"
    yield "operators", ", ".join(f"{count} {op}" for op, count in _operators(model).most_common())
    zeros = cost.parameters - cost.nonzero
    share = f", {100 * zeros / cost.parameters:.0f} % of them zero" if 200 * zeros > cost.parameters else ""
    yield "parameters", f"{cost.parameters:,}{share}"
    yield "weights", ", ".join(f"{quantities.size(count)} {kind}" for kind, count in _bytes_by_type(model).items())
    forms = bytes_by_form(model)
    if set(forms) != {DENSE}:
        yield "stored as", ", ".join(f"{form} {quantities.size(count)}" for form, count in forms.items())
    yield "MACs", quantities.amount(cost.macs) + _conditions(signature.inputs, sizes)


def _versions(model: Model) -> str:
    others = [f"{o.domain} {o.version}" for o in model.header.opset_import if o.domain not in ("", "ai.onnx")]
    maker = f"{model.header.producer_name} {model.header.producer_version}".strip()
    parts = [
        str(model.opset),
        *others,
        f"IR version {model.header.ir_version}",
        *([f"made by {maker}"] if maker else []),
    ]
    return ", ".join(parts)


def _conditions(inputs: Sequence[Any], sizes: Sizes) -> str:
    """The sizes for which the MACs hold, if the inputs leave them open."""
    given = [
        f"{spec.name} {list(sizes[spec.name])}"
        for spec in inputs
        if spec.name in sizes and not all(isinstance(dim, int) for dim in (spec.shape or (None,))[1:])
    ]
    return f" for {', '.join(given)}" if given else ", batch 1"


def _operators(model: Model) -> Counter[str]:
    return Counter(node.op for node in model.nodes() if not node.is_op("Constant"))


def _bytes_by_type(model: Model) -> dict[str, int]:
    """Bytes of all constants by element type, largest first."""
    found: Counter[str] = Counter()
    attributes = (v for node in model.nodes() for v in node.attrs.values() if isinstance(v, Constant))
    for constant in (*model.constants(), *attributes):
        found[constant.dtype.name] += constant.nbytes
    return dict(found.most_common())


def _layers(cost: Cost) -> Table:
    grid = table()
    grid.add_column("layer", overflow="fold")
    for heading in ("operator", "channels", "kernel"):
        grid.add_column(heading, no_wrap=True)
    for heading in ("params", "bytes", "MACs"):
        grid.add_column(heading, justify="right", no_wrap=True)
    for layer in cost.layers:
        if _is_small(layer):
            continue
        grid.add_row(*_layer_cells(layer), style="" if layer.is_counted else "dim")
    return grid


def _layer_cells(layer: LayerCost) -> list[str]:
    shape = layer.geometry
    kernel = "×".join(map(str, shape.kernel))
    if any(step != 1 for step in shape.stride):
        kernel += f"/{shape.stride[0]}" if len(set(shape.stride)) == 1 else f"/{'×'.join(map(str, shape.stride))}"
    if shape.group > 1:
        kernel += f" g{shape.group}"
    operator = layer.op.replace("Normalization", "Norm")
    cells = [" / ".join((*layer.path, layer.name)), operator, shape.channels, kernel]
    return [*cells, quantities.short(layer.parameters), quantities.size(layer.bytes), quantities.short(layer.macs)]


def _weights(weights: Sequence[StoredForm]) -> Table:
    grid = table()
    grid.add_column("weight", overflow="fold")
    grid.add_column("shape", no_wrap=True)
    grid.add_column("stored as", no_wrap=True)
    for heading in ("bytes", "non-zero", "values", "bits", "entropy"):
        grid.add_column(heading, justify="right", no_wrap=True)
    for one in weights:
        shape = "×".join(map(str, one.shape))
        counts = quantities.short(one.nonzero), quantities.short(one.distinct)
        grid.add_row(
            one.name, shape, one.form, quantities.size(one.bytes), *counts, f"{one.bits:.2f}", f"{one.entropy:.2f}"
        )
    return grid


def document(
    model: Model,
    cost: Cost,
    sizes: Sizes,
    *,
    groups: ChannelGroups | None = None,
    weights: Sequence[StoredForm] | None = None,
    packed: int | None = None,
) -> dict[str, Any]:
    """The same as plain JSON values."""
    signature = specs(model)
    found = {
        "opset": {entry.domain or "ai.onnx": entry.version for entry in model.header.opset_import},
        "inputs": [str(spec) for spec in signature.inputs],
        "outputs": [str(spec) for spec in signature.outputs],
        "metadata": model.metadata,
        "operators": dict(_operators(model).most_common()),
        "parameters": cost.parameters,
        "nonzero": cost.nonzero,
        "bytes": cost.bytes,
        "bytes_by_type": _bytes_by_type(model),
        "bytes_by_form": bytes_by_form(model),
        "macs": cost.macs,
        "sizes": {name: list(shape) for name, shape in sizes.items()},
        "notes": list(cost.notes),
        "layers": [_layer_document(layer) for layer in cost.layers],
    }
    if packed is not None:
        found["packed_bytes"] = packed
    if groups is not None:
        found["groups"] = [channels.document(group) for group in groups.groups]
    if weights is not None:
        found["weights"] = [{**asdict(one), "shape": list(one.shape), "bits": one.bits} for one in weights]
    return found


def _layer_document(layer: LayerCost) -> dict[str, Any]:
    return {
        "name": layer.name,
        "op": layer.op,
        "path": list(layer.path),
        "in_channels": layer.geometry.in_channels,
        "out_channels": layer.geometry.out_channels,
        "kernel": list(layer.geometry.kernel),
        "stride": list(layer.geometry.stride),
        "group": layer.geometry.group,
        "parameters": layer.parameters,
        "nonzero": layer.nonzero,
        "bytes": layer.bytes,
        "macs": layer.macs,
        "note": layer.note,
        "is_counted": layer.is_counted,
    }
