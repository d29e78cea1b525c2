"""The tree of tests mirrors that of the modules, which `test_layers.py` holds: each has a test of its name."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

WITHOUT: dict[str, str] = {
    "compiler/analysis/channels/mends": "records without behaviour, which `walk` makes and `channel_removal` reads",
    "compiler/cli/file_argument": "one constant",
    "passes/quantize/_dequantize_opsets": "two constants",
}
"""Modules without a test, as paths without the suffix: pure declarations, which nothing but their readers can test."""

ROOTS = ("compiler", "passes")


def faults(files: Collection[Path], without: Mapping[str, str] = WITHOUT) -> Iterator[str]:
    """Modules without a test, and entries of `without` that do not hold. `files` are paths below the root."""
    modules = {path.with_suffix("") for path in files if path.parts[0] in ROOTS and path.name != "__init__.py"}
    exempt = set(map(Path, without))
    for module in sorted(exempt - modules):
        yield f"tests/mirror.py: there is no {module}.py"
    for module in sorted(modules):
        own = [test for test in own_tests(module) if test in files]
        if own and module in exempt:
            yield f"tests/mirror.py: {module}.py has a test of its name, {own[0]}"
        if not own and module not in exempt:
            yield f"{module}.py has no test: write {own_tests(module)[0]}"


def own_tests(module: Path) -> tuple[Path, Path]:
    """Where a module's own test may be: a file of tests, or of golden cases."""
    name, folder = module.name.lstrip("_"), Path("tests") / module.parent
    return folder / f"test_{name}.py", folder / f"{name}.md"
