"""Stored latencies, so that choices that depend on timing are repeatable.

Choices between lowerings, types and widths depend on timings, which vary from run to run on a noisy machine. The table
stores them under the graph's structure (operators, attributes, shapes; not the values of weights), the machine,
onnxruntime's release and the number of threads. Each entry has an age and a machine. In the user's own table entries
expire and are measured again. A table that the user names never expires and may come from another device: choices then
use that device's times, and no times can be added here.

The file is JSON: `version`, `machines`, and `times`, which maps each key to `[milliseconds, seconds since 1970, index
in machines]`.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime

from onnx_compress.compiler.errors import OutputError, UsageError
from onnx_compress.compiler.ir.files.lock import locked
from onnx_compress.compiler.ir.files.save import replacing
from onnx_compress.compiler.ir.model import Model

VERSION = 2
SMALL = 64
"""Largest constant, in bytes, whose values count as structure: axes, shapes, pads."""
LONGEST = 64 << 20
"""Largest file, in bytes, that is read as a table."""
LIFE = 30 * 24 * 3600
"""Seconds after which an entry of the user's own table is measured again."""


def machine() -> str:
    """The CPU's name, as far as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"{platform.machine()} {line.partition(':')[2].strip()}"
    except OSError:
        pass  # not Linux
    return f"{platform.machine()} {platform.processor()}"


class Entry(NamedTuple):
    """Milliseconds of one run, the time of the measurement (seconds since 1970, 0 if unknown), and the machine."""

    ms: float
    measured: int
    machine: str


@dataclass
class LatencyTable:
    """Latencies by key; `path` is the file that stores them, None stores them only in memory.

    `machine` is the one whose times are used; `life` is the number of seconds for which an entry is valid, None for
    ever.
    """

    path: Path | None = None
    entries: dict[str, Entry] = field(default_factory=dict)
    machine: str = field(default_factory=machine)
    life: int | None = None
    remembered: dict[str, int] = field(default_factory=dict)
    """Lookups answered by entries from before this run: the first key, and the time of the oldest entry."""
    _own: set[str] = field(default_factory=set)
    """Keys measured in this run."""

    @classmethod
    def load(cls, path: Path) -> LatencyTable:
        """Read a table; a missing file is an empty one. Raises UsageError for anything else."""
        entries = _read(path)
        machines = Counter(entry.machine for entry in entries.values())
        is_known = not machines or machine() in machines
        return cls(path, entries, machine() if is_known else machines.most_common(1)[0][0])

    @classmethod
    def of_user(cls) -> LatencyTable:
        """The user's own table, in the cache folder; a damaged one is replaced by an empty one."""
        path = default_path()
        return cls(path, _read_anyway(path), machine(), LIFE)

    def get(self, keys: Sequence[str]) -> list[float] | None:
        """The times of all `keys`; None unless every key is in the table."""
        found = [self.entries[key] for key in keys if self._is_alive(key)]
        if len(found) < len(keys):
            return None
        self._note(keys)
        return [entry.ms for entry in found]

    def under(self, prefix: str) -> dict[str, float]:
        """All times whose keys start with `prefix`, by the rest of the key."""
        keys = [key for key in self.entries if key.startswith(prefix) and self._is_alive(key)]
        self._note(keys)
        return {key.removeprefix(prefix): self.entries[key].ms for key in keys}

    def put(self, times: Mapping[str, float]) -> None:
        """Add times and write the table, merged with entries that other processes added; theirs take precedence.

        If the user's own table can't be written, the times are kept in memory. Raises UsageError for the table of
        another machine.
        """
        if self.machine != machine():
            raise UsageError(
                f"{self.path}: holds the times of another machine ({self.machine}), but not all that are needed; "
                "run the same command there first, or leave out --latency-table"
            )
        now = int(time.time())
        added = {key: Entry(float(f"{ms:.6g}"), now, self.machine) for key, ms in times.items()}
        try:
            written = added if self.path is None else self._write(self.path, added)
        except (OSError, OutputError):
            if self.life is None:
                raise OutputError(f"{self.path}: can't write the latency table") from None
            written = added
        self.entries.update(written)
        self._own.update(key for key in added if written[key] is added[key])

    def _write(self, path: Path, added: Mapping[str, Entry]) -> dict[str, Entry]:
        """Merge `added` into the file and return its entries."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path):
            present = _read(path) if self.life is None else _read_anyway(path)
            alive = {key: entry for key, entry in present.items() if self._counts(entry)}
            merged = {**added, **alive}
            with replacing(path) as file:
                file.write(_text(merged).encode())
        return merged

    def _is_alive(self, key: str) -> bool:
        return key in self.entries and self._counts(self.entries[key])

    def _counts(self, entry: Entry) -> bool:
        return self.life is None or time.time() - entry.measured <= self.life

    def _note(self, keys: Sequence[str]) -> None:
        before = [key for key in keys if key not in self._own]
        if before:
            self.remembered[keys[0]] = min(self.entries[key].measured for key in before)


def _read(path: Path) -> dict[str, Entry]:
    """The entries of a file; none if it is missing. Raises UsageError if it is not a table."""
    if not path.exists():
        return {}
    try:
        if path.stat().st_size > LONGEST:
            raise UsageError(f"{path}: too large for a latency table")
        return _entries(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        raise UsageError(f"{path}: not a latency table; delete it or name another file") from None


def _read_anyway(path: Path) -> dict[str, Entry]:
    try:
        return _read(path)
    except UsageError:
        return {}


def _entries(content: Any) -> dict[str, Entry]:
    """Entries from JSON; those of version 1 have no time of measurement. Wrong content raises any of several errors."""
    version = content["version"]
    if version not in (1, VERSION):
        raise ValueError(f"version {version} is unknown")
    if version == 1:
        where = str(content.get("machine", machine()))
        found = {key: Entry(float(ms), 0, where) for key, ms in content["times"].items()}
    else:
        machines = [str(name) for name in content["machines"]]
        rows = content["times"].items()
        found = {key: Entry(float(ms), int(measured), machines[place]) for key, (ms, measured, place) in rows}
    if not all(entry.ms > 0 for entry in found.values()):
        raise ValueError("a time is not positive")
    return found


def _text(entries: Mapping[str, Entry]) -> str:
    """The file's content, one line per entry."""
    machines = sorted({entry.machine for entry in entries.values()})
    rows = (
        f" {json.dumps(key)}: {json.dumps([entry.ms, entry.measured, machines.index(entry.machine)])}"
        for key, entry in sorted(entries.items())
    )
    return f'{{"version": {VERSION}, "machines": {json.dumps(machines)}, "times": {{\n' + ",\n".join(rows) + "\n}}\n"


def default_path() -> Path:
    """Path of the user's own table: `latency.json` in the cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "onnx-compress" / "latency.json"


def keys_of(
    models: Mapping[str, Model], feeds: Mapping[str, np.ndarray], threads: int, where: str | None = None
) -> dict[str, str]:
    """A key for each of some models that are timed together.

    It covers the structures of all of them (times of different runs are not comparable), the input shapes, the machine
    (`where`; None: this one), onnxruntime's release, and the number of threads.
    """
    structures = {name: structure_of(model) for name, model in models.items()}
    setting = repr((sorted(structures.values()), *setting_of(feeds, threads, where)))
    together = hashlib.sha256(setting.encode()).hexdigest()[:24]
    return {name: f"{together}-{structure[:24]}" for name, structure in structures.items()}


def setting_of(feeds: Mapping[str, np.ndarray], threads: int, where: str | None = None) -> tuple[object, ...]:
    """What a time depends on besides the model."""
    shapes = sorted((name, array.shape, str(array.dtype)) for name, array in feeds.items())
    return shapes, threads, where or machine(), onnxruntime.__version__


def structure_of(model: Model) -> str:
    """A digest of operators, attributes and shapes, without the values of weights."""
    return hashlib.sha256(model.skeleton(SMALL, is_dense=True).SerializeToString(deterministic=True)).hexdigest()
