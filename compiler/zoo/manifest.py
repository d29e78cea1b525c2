"""The zoo's manifest: the models, their sources and their inputs.

It has one `[[model]]` table per model. `source` says where the file comes from:

- `wheel`: a member of a wheel on the package index, pinned by the archive's and the member's sha256;
- `installed`: a file in an installed package, pinned by sha256;
- `file`: a file below the manifest's folder;
- `built`: built here from a seed, by the named builder in `build.py`.

`[model.inputs]` has one entry per input: a `shape`, in which "B" is the batch, and how values are drawn (`recipes.py`).
Unknown keys are errors, so a typo can't disable a check.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from onnx_compress.compiler.errors import UsageError

SOURCES: dict[str, tuple[str, ...]] = {
    "wheel": ("package", "version", "archive", "archive_sha256", "member", "sha256"),
    "installed": ("package", "member", "sha256"),
    "file": ("member", "data", "unseen"),
    "built": ("builder",),
}
"""The keys that each source needs in addition to those of every model."""

BATCH = "B"
NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
SHA256 = re.compile(r"[0-9a-f]{64}")
DEFAULT_PATH = Path(__file__).resolve().parents[2] / "models" / "zoo.toml"


@dataclass(frozen=True, kw_only=True)
class Draw:
    """How the values of one input are drawn; the kinds are those of `recipes.py`."""

    shape: tuple[int | str, ...]
    draw: str = "normal"
    mean: float = 0.0
    std: float = 1.0
    low: int = 0
    high: int = 2
    value: float = 0.0

    def at(self, batch: int) -> tuple[int, ...]:
        """The shape with `batch` in place of "B"."""
        return tuple(batch if axis == BATCH else int(axis) for axis in self.shape)


@dataclass(frozen=True, kw_only=True)
class ZooEntry:
    """One model of the zoo. `dynamic_batch` promises that it runs at batch 1 and at batch 3.

    `structure_only` models have random weights, so their numerics are recorded but not judged. `fill` gives seeded
    random values to weights that the graph makes with ConstantOfShape. `short` models need no network. `samples` is
    the number of samples drawn for the pipelines, which calibrate on three quarters and measure on the rest. With
    `data` they get that `.npz` below the manifest's folder instead, and the result is examined on that of `unseen`.
    """

    name: str
    source: str
    licence: str
    framework: str
    covers: str
    inputs: Mapping[str, Draw]
    package: str = ""
    version: str = ""
    archive: str = ""
    archive_sha256: str = ""
    member: str = ""
    sha256: str = ""
    builder: str = ""
    dynamic_batch: bool = False
    structure_only: bool = False
    fill: bool = False
    short: bool = False
    samples: int = 32
    data: str = ""
    unseen: str = ""
    base: Path = Path()
    """The manifest's folder, the base of `file` sources; not a key of the manifest."""

    @property
    def requirement(self) -> str:
        """The package and version in pip's form."""
        return f"{self.package}=={self.version}"


def load_manifest(path: Path = DEFAULT_PATH) -> tuple[ZooEntry, ...]:
    """Read and check the manifest. Raises UsageError with the model and the wrong key."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise UsageError(
            f"{path}: no such manifest; the zoo needs a checkout of the project, or --manifest FILE"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from None
    _only_keys(document, ("model",), str(path))
    entries = tuple(_entry(table, path) for table in document.get("model", []))
    names = [entry.name for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{path}: two models have the name '{name}'; rename one")
    return entries


def select(entries: Iterable[ZooEntry], patterns: Sequence[str]) -> tuple[ZooEntry, ...]:
    """The models whose names match one of the globs; all without globs. A glob without a match is an error."""
    everything = tuple(entries)
    for pattern in patterns:
        if not any(fnmatchcase(entry.name, pattern) for entry in everything):
            names = ", ".join(entry.name for entry in everything)
            raise UsageError(f"no model of the zoo matches '{pattern}'; it has {names}")
    return tuple(e for e in everything if not patterns or any(fnmatchcase(e.name, p) for p in patterns))


def _entry(table: Mapping[str, Any], path: Path) -> ZooEntry:
    where = f"{path}: model '{table.get('name', '?')}'"
    fields = [field for field in dataclasses.fields(ZooEntry) if field.name != "base"]
    _only_keys(table, [f.name for f in fields], where)
    _needs(table, [f.name for f in fields if f.default is dataclasses.MISSING], where)
    if table["source"] not in SOURCES:
        raise UsageError(f"{where}: source must be one of {', '.join(SOURCES)}, not {table['source']!r}")
    _needs(table, SOURCES[table["source"]], where)
    for field in fields:
        _check_type(field, table.get(field.name), where)
    _check_strings(table, where)
    inputs = {name: _draw(draw, f"{where}: input '{name}'") for name, draw in table["inputs"].items()}
    return ZooEntry(**{**table, "inputs": inputs, "base": path.parent})


def _draw(table: Mapping[str, Any], where: str) -> Draw:
    _only_keys(table, [f.name for f in dataclasses.fields(Draw)], where)
    _needs(table, ["shape"], where)
    shape = tuple(table["shape"])
    if not all(axis == BATCH or (isinstance(axis, int) and axis > 0) for axis in shape):
        raise UsageError(f"{where}: shape {list(shape)} must consist of positive numbers and '{BATCH}'")
    return Draw(**{**table, "shape": shape})


def _check_type(field: dataclasses.Field[Any], value: object, where: str) -> None:
    kind = {"str": str, "bool": bool, "int": int}.get(str(field.type), Mapping)
    if value is not None and not isinstance(value, kind):
        raise UsageError(f"{where}: {field.name} is {value!r}, which is not of type {field.type}")


def _check_strings(table: Mapping[str, Any], where: str) -> None:
    if not NAME.fullmatch(table["name"]):
        raise UsageError(f"{where}: a name may contain only lower-case letters, digits, '-' and '.'")
    for key in ("sha256", "archive_sha256"):
        if key in table and not SHA256.fullmatch(table[key]):
            raise UsageError(f"{where}: {key} is not 64 hexadecimal digits")
    member = PurePosixPath(table.get("member", ""))
    if member.is_absolute() or ".." in member.parts or "\\" in str(member):
        raise UsageError(f"{where}: member '{member}' points outside its archive")


def _only_keys(table: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    allowed = list(known)
    for key in table:
        if key not in allowed:
            raise UsageError(f"{where}: unknown key '{key}'; the keys are {', '.join(allowed)}")


def _needs(table: Mapping[str, Any], keys: Iterable[str], where: str) -> None:
    for key in keys:
        if key not in table:
            raise UsageError(f"{where}: the key '{key}' is missing")
