"""The folder tree is the registry: `passes/VERB/some_pass.py` holds class `SomePass` with name `some-pass`.

Other distributions add passes by the entry point group `onnx_compress.passes`.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from functools import cache
from importlib import metadata

from onnx_compress.compiler.errors import UsageError
from onnx_compress.compiler.pipeline.base import Pass

ROOT = "onnx_compress.passes"
ENTRY_POINTS = "onnx_compress.passes"
ALIASES = {
    "prune": "prune-channels",
    "sparsify": "sparsify-weights",
    "cluster": "cluster-weights",
    "quantize": "quantize-int8",
    "retrain": "finetune",
}
"""Short names; only those of installed passes count."""


def find(name: str) -> type[Pass]:
    """The pass called `name`, or by an alias. Raises UsageError with the nearest names."""
    full = ALIASES.get(name, name)
    modules = _modules()
    if full in modules:
        return _load(full, modules[full])
    for entry in metadata.entry_points(group=ENTRY_POINTS):
        if entry.name == full:
            return _checked(entry.load(), full, entry.value)
    raise UsageError(f"no pass is called '{name}'; {_suggestion(name)}")


def names() -> list[str]:
    """Every pass's name, sorted."""
    return sorted({*_modules(), *(entry.name for entry in metadata.entry_points(group=ENTRY_POINTS))})


def all_passes() -> list[type[Pass]]:
    """Every pass, sorted by name."""
    return [find(name) for name in names()]


def aliases() -> dict[str, str]:
    """The aliases of installed passes."""
    present = set(names())
    return {short: full for short, full in ALIASES.items() if full in present}


def _suggestion(name: str) -> str:
    known = [*names(), *aliases()]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(sorted(known))}"


@cache
def _modules() -> dict[str, str]:
    """Name of each pass → name of its module, from file names alone: nothing is imported."""
    found = {}
    for verb, module in _walk():
        found[module.replace("_", "-")] = f"{ROOT}.{verb}.{module}"
    return found


def _walk() -> Iterator[tuple[str, str]]:
    root = importlib.import_module(ROOT)
    for verb in pkgutil.iter_modules(root.__path__):
        if not verb.ispkg or verb.name.startswith("_"):
            continue
        folder = importlib.import_module(f"{ROOT}.{verb.name}")
        for module in pkgutil.iter_modules(folder.__path__):
            if not module.name.startswith("_"):
                yield verb.name, module.name


def _load(name: str, module_name: str) -> type[Pass]:
    module = importlib.import_module(module_name)
    class_name = "".join(part.capitalize() for part in name.split("-"))
    found = getattr(module, class_name, None)
    if found is None:
        raise TypeError(f"{module_name} must define the class {class_name}")
    return _checked(found, name, module_name)


def _checked(found: type[Pass], name: str, where: str) -> type[Pass]:
    if not (inspect.isclass(found) and issubclass(found, Pass)) or found.name != name:
        raise TypeError(f"{where}: the pass's class must derive from Pass and be named '{name}'")
    return found
