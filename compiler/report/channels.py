"""The channel groups of a model: what is pruned together, and why a group can't be, for the terminal and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from onnx_compress.compiler.analysis.channels import ChannelGroups, Group
from onnx_compress.compiler.ir.graph import Node
from onnx_compress.compiler.report import quantities
from onnx_compress.compiler.report.plain import table

FEW_NAMES = 3
MANY_NAMES = 6
"""Most layers to list by name."""


def show(groups: ChannelGroups, console: Console) -> None:
    """Print the groups: first the prunable ones, then the others with the reason."""
    can = groups.prunable
    others = [group for group in groups.groups if not group.is_prunable]
    console.print(Text(f"{len(can)} of {len(groups.groups)} channel groups can be pruned", style="bold"))
    console.print(Text("a → b: a computes the channels, b reads them; params: all that belong to them", style="dim"))
    console.print()
    if can:
        console.print(_table("prunable", can))
    if can and others:
        console.print()
    if others:
        console.print(_table("fixed", others))
    if any(_is_cut(group) for group in groups.groups):
        console.print(Text("\n--json names all layers", style="dim"))


def _table(title: str, groups: Sequence[Group]) -> Table:
    grid = table()
    grid.add_column("channels", justify="right", no_wrap=True)
    grid.add_column("params", justify="right", no_wrap=True)
    grid.add_column(title, overflow="fold")
    for alike in _merged(groups):
        grid.add_row(_width(alike[0]), quantities.short(sum(group.elements for group in alike)), _cell(alike))
    return grid


def _merged(groups: Sequence[Group]) -> list[list[Group]]:
    """The groups one by one; those without a layer (tables, masks) are merged if width and reason are the same."""
    found: dict[object, list[Group]] = {}
    for group in groups:
        key = group if _has_layers(group) else (group.size, group.why_fixed, group.why_coupled)
        found.setdefault(key, []).append(group)
    return list(found.values())


def _has_layers(group: Group) -> bool:
    return bool(group.producers or group.consumers)


def _width(group: Group) -> str:
    """The number of sets to choose from, times a layer's channels per set (the width of a head)."""
    return f"{group.size} × {group.multiplicity}" if group.multiplicity > 1 else str(group.size)


def _cell(alike: Sequence[Group]) -> Text:
    """The layers and, on a separate line, a remark."""
    group = alike[0]
    text = Text(_layers(group) if _has_layers(group) else _constants(alike))
    if not group.is_prunable:
        text.append(f"\nreason: {reason(group)}", style="yellow")
    elif group.why_coupled:
        text.append(f"\nbut {group.why_coupled}: removing even zeros changes the rest", style="yellow")
    return text


def _layers(group: Group) -> str:
    """The layers on both sides, on one line if they are few."""
    if not group.consumers:
        return _names(group.producers)
    apart = "\n" if len(group.producers) + len(group.consumers) > FEW_NAMES else " "
    return f"{_names(group.producers)}{apart if group.producers else ''}→ {_names(group.consumers)}"


def _constants(alike: Sequence[Group]) -> str:
    nodes = dict.fromkeys(place.node for group in alike for place, _ in group.places)
    return f"constants that {_names(list(nodes))} read{'s' if len(nodes) == 1 else ''}"


def _names(nodes: Sequence[Node]) -> str:
    if len(nodes) <= MANY_NAMES:
        return ", ".join(map(Node.layer_name, nodes))
    shown = nodes[: MANY_NAMES - 1]
    return f"{', '.join(map(Node.layer_name, shown))} and {len(nodes) - len(shown)} more"


def _is_cut(group: Group) -> bool:
    return max(len(group.producers), len(group.consumers)) > MANY_NAMES


def reason(group: Group) -> str:
    """Why a group can't be pruned."""
    return group.why_fixed or "it has only one channel to choose"


def document(group: Group) -> dict[str, Any]:
    """A group as plain JSON values: `size` sets to choose from, `multiplicity` channels per layer in each."""
    weights = [
        {
            "layer": place.node.layer_name(),
            "input": place.slot,
            "axis": place.axis,
            "role": place.role,
            "per_set": count,
        }
        for place, count in group.places
    ]
    return {
        "producers": [node.layer_name() for node in group.producers],
        "consumers": [node.layer_name() for node in group.consumers],
        "size": group.size,
        "multiplicity": group.multiplicity,
        "parameters": group.elements,
        "prunable": group.is_prunable,
        "reason": None if group.is_prunable else reason(group),
        "coupled": group.why_coupled,
        "weights": weights,
    }
