"""Pipelines as one word on the command line: `prune-channels:ratio=0.3:criterion=l2,quantize-int8`.

Commas separate passes and colons options, so that a shell needs no quotes. `parse` and `render` are inverses of each
other.
"""

from __future__ import annotations

import difflib
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from onnx_compress.compiler.errors import UsageError
from onnx_compress.compiler.pipeline import registry
from onnx_compress.compiler.pipeline.base import Pass
from onnx_compress.compiler.pipeline.options import OptionInfo, type_name


def parse(text: str) -> list[Pass]:
    """The passes that a specification names, with their options. Raises UsageError."""
    items = [item.strip() for item in text.split(",")]
    if not all(items):
        raise UsageError(f"the pipeline '{text}' has an empty place between its commas")
    return [_parse_one(item) for item in items]


def render(passes: Sequence[Pass]) -> str:
    """The shortest specification of these passes: options at their defaults are left out."""
    return ",".join(render_one(item) for item in passes)


def render_one(item: Pass) -> str:
    """One pass with the options that differ from their defaults."""
    values = item.values()
    changed = [info for info in item.options() if values[info.name] != info.default]
    return ":".join([item.name, *(f"{info.name}={_to_text(values[info.name])}" for info in changed)])


def build(name: str, options: Mapping[str, Any]) -> Pass:
    """The pass `name` with typed options, as in a recipe. Raises UsageError."""
    kind = registry.find(name)
    known = {info.name: info for info in kind.options()}
    for key in options:
        if key not in known:
            raise UsageError(f"{kind.name} has no option '{key}'; {_known_options(key, list(known))}")
    return kind(**options)


def _parse_one(item: str) -> Pass:
    name, *settings = item.split(":")
    kind = registry.find(name)
    known = {info.name: info for info in kind.options()}
    options: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if key not in known:
            raise UsageError(f"{kind.name} has no option '{key}'; {_known_options(key, list(known))}")
        if not equals:
            raise UsageError(f"{kind.name}: write '{key}=…', with a value of {type_name(known[key])}")
        if key in options:
            raise UsageError(f"{kind.name}: option '{key}' is given twice")
        options[key] = _from_text(value, known[key], kind.name)
    return kind(**options)


def _known_options(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return hint + (f"it has {', '.join(known)}" if known else "it has none")


def _from_text(text: str, info: OptionInfo, where: str) -> Any:
    """The value of a word, by the option's declared type."""
    kinds = typing.get_args(info.type) or (info.type,)
    if type(None) in kinds and text in ("none", ""):
        return None
    if bool in kinds and text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        if kind in kinds:
            try:
                return kind(text)
            except ValueError:
                continue
    if str in kinds:
        return text
    raise UsageError(f"{where}: option '{info.name}' takes {type_name(info)}, not '{text}'")


def _to_text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
