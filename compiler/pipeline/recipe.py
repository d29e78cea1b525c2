"""Recipes: a pipeline in a TOML file, with options per layer and how to read pictures.

::

    [settings]                      # every key is optional, see Settings; the command line overrides it
    max_drop = 0.5
    seed = 1
    exclude = ["head.*"]

    [data]                          # how pictures become inputs
    size = [224, 224]
    mean = [0.485, 0.456, 0.406]
    std = [0.229, 0.224, 0.225]

    [[pass]]
    name = "prune-channels"
    ratio = 0.3

    [[pass.layers]]                 # globs of layer names; the last match wins
    match = "layer1.*"
    ratio = 0.1

Unknown keys and globs that match no layer are errors, so that a typing mistake is not ignored silently.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnx_compress.compiler.errors import UsageError
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline import spec
from onnx_compress.compiler.pipeline.base import Pass
from onnx_compress.compiler.pipeline.settings import Settings

PICTURES: Mapping[str, type | tuple[type, ...]] = {
    "size": list,
    "mean": list,
    "std": list,
    "scale": (int, float),
    "layout": str,
    "fit": str,
}
MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class LayerRule:
    """Options of one pass for the layers whose names match a glob."""

    match: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """A pass of the pipeline and its rules for single layers."""

    item: Pass
    layers: tuple[LayerRule, ...] = ()
    exclude: tuple[str, ...] = ()
    """Names of layers that this step leaves alone, in addition to those that the settings exclude."""


def steps_of(steps: object) -> tuple[Step, ...]:
    """The steps of a specification, of a Step, or of several of these. Raises UsageError."""
    if isinstance(steps, str):
        return tuple(Step(item) for item in spec.parse(steps))
    if isinstance(steps, Step):
        return (steps,)
    if not isinstance(steps, Iterable):
        raise UsageError(f"passes are given as text or as steps, not as {type(steps).__name__}")
    return tuple(step for part in steps for step in steps_of(part))


@dataclass(frozen=True)
class Recipe:
    """The content of a recipe file."""

    steps: tuple[Step, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, Any] = field(default_factory=dict)


def load(path: str | Path) -> Recipe:
    """Read a recipe. Raises UsageError naming the file and the key."""
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path}: is larger than 1 MiB, the limit for a recipe")
        text = path.read_bytes().decode()
    except OSError as error:
        raise UsageError(f"{path}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not UTF-8 text") from None
    return parse(text, str(path))


def parse(text: str, where: str = "recipe") -> Recipe:
    """Read a recipe's text; `where` names it in messages. Raises UsageError."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where}: no valid TOML: {error}") from None
    _check_keys(table, ("settings", "data", "pass"), where)
    settings = Settings.table(_table(table, "settings", where), f"{where}: [settings]")
    pictures = _section(table, "data", PICTURES, where)
    items = table.get("pass", [])
    if not isinstance(items, list) or not items:
        raise UsageError(f'{where}: it names no pass; write [[pass]] and name = "…"')
    return Recipe(tuple(_step(item, where) for item in items), settings, pictures)


def _table(table: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    section = table.get(name, {})
    if not isinstance(section, dict):
        raise UsageError(f"{where}: [{name}] must be a table")
    return section


def _section(
    table: Mapping[str, Any], name: str, known: Mapping[str, type | tuple[type, ...]], where: str
) -> Mapping[str, Any]:
    section = _table(table, name, where)
    _check_keys(section, tuple(known), f"{where}: [{name}]")
    for key, value in section.items():
        if not isinstance(value, known[key]) or (isinstance(value, bool) and known[key] is not bool):
            raise UsageError(f"{where}: [{name}]: '{key}' can't be {value!r}")
    return section


def _check_keys(table: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in table:
        if key in known:
            continue
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(known)}"
        raise UsageError(f"{where}: unknown key '{key}'; {hint}")


def _step(item: Any, where: str) -> Step:
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        raise UsageError(f"{where}: each [[pass]] needs a name")
    options = {key: value for key, value in item.items() if key not in ("name", "layers")}
    try:
        built = spec.build(item["name"], options)
        rules = item.get("layers", [])
        if not isinstance(rules, list):
            raise UsageError(f"{built.name}: 'layers' are tables: write [[pass.layers]]")
        return Step(built, tuple(_layer_rule(rule, built) for rule in rules))
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _layer_rule(rule: Any, item: Pass) -> LayerRule:
    if not isinstance(rule, dict) or not isinstance(rule.get("match"), str):
        raise UsageError(f'{item.name}: each [[pass.layers]] needs match = "a glob of layer names"')
    options = {key: value for key, value in rule.items() if key != "match"}
    if not options:
        raise UsageError(f"{item.name}: the layers '{rule['match']}' are given no option")
    spec.build(item.name, options)
    for name in options:
        if name not in item.per_layer:
            allowed = f"only {', '.join(item.per_layer)}" if item.per_layer else "no option of it"
            raise UsageError(f"{item.name}: '{name}' can't be set for single layers, {allowed} can")
    return LayerRule(rule["match"], options)


def check_globs(globs: Sequence[str], model: Model) -> Mapping[str, tuple[str, ...]]:
    """The layers that each glob matches. Raises UsageError for a glob that matches none."""
    nodes = list(model.nodes())
    layers = [node.layer_name() for node in nodes]
    matches = {glob: tuple(n for n, node in zip(layers, nodes) if node.matches(glob)) for glob in globs}
    for glob, found in matches.items():
        if not found:
            near = difflib.get_close_matches(glob.replace("*", ""), layers, n=1, cutoff=0.3)
            hint = f"; the nearest layer is '{near[0]}'" if near else ""
            raise UsageError(f"no layer matches '{glob}'{hint}")
    return matches
