"""Measured latencies that are kept, so that a choice made once by the clock is made the same way again.

Choices between lowerings, types and widths hang on timings, and timings on a noisy machine change from run to
run. The table remembers them under the graph's structure (operators, attributes, shapes; not the values of
weights), the machine, onnxruntime's release and the number of threads. It may come from another device: then
choices are made by that one's times, and none can be added here.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime

from onnx_compress.compiler.errors import OutputError, UsageError
from onnx_compress.compiler.ir.files.save import replacing
from onnx_compress.compiler.ir.model import Model

VERSION = 1
SMALL = 64
"""Bytes up to which the values of a constant count as structure: axes, shapes, pads."""
LONGEST = 64 << 20
"""Bytes of the largest file that is taken for a table."""


def machine() -> str:
    """The processor, as far as the system names it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"{platform.machine()} {line.partition(':')[2].strip()}"
    except OSError:
        pass  # not Linux
    return f"{platform.machine()} {platform.processor()}"


@dataclass
class LatencyTable:
    """Milliseconds of one run by key; `path` is where it is kept, None keeps it nowhere.

    `machine` is the one whose times these are.
    """

    path: Path | None = None
    times: dict[str, float] = field(default_factory=dict)
    machine: str = field(default_factory=machine)

    @classmethod
    def load(cls, path: Path) -> LatencyTable:
        """Read a table; a file that is not there yet is an empty one. Raises UsageError for anything else."""
        if not path.exists():
            return cls(path)
        try:
            if path.stat().st_size > LONGEST:
                raise UsageError(f"{path}: too large for a table of latencies")
            content = json.loads(path.read_text())
        except (OSError, ValueError):
            raise UsageError(f"{path}: is no table of latencies; delete it or name another file") from None
        if not _is_table(content):
            raise UsageError(f"{path}: is no table of latencies of version {VERSION}; delete it or name another file")
        return cls(path, content["times"], content.get("machine", machine()))

    @classmethod
    def of_user(cls) -> LatencyTable:
        """The user's own table, in the cache folder; a damaged one starts anew."""
        path = default_path()
        try:
            return cls.load(path)
        except UsageError:
            return cls(path)

    def get(self, keys: Sequence[str]) -> list[float] | None:
        """The times under all `keys`, or None unless every one is there."""
        found = [self.times.get(key) for key in keys]
        return None if None in found else [time for time in found if time is not None]

    def under(self, prefix: str) -> dict[str, float]:
        """All times whose keys begin with `prefix`, by the rest of the key."""
        return {key.removeprefix(prefix): time for key, time in self.times.items() if key.startswith(prefix)}

    def put(self, times: Mapping[str, float]) -> None:
        """Add times and write the table; one that can't be written where nobody asked for it is only kept in memory.

        Raises UsageError for the table of another machine.
        """
        if self.machine != machine():
            raise UsageError(
                f"{self.path}: holds the times of another machine ({self.machine}) and lacks some that are needed; "
                "run the same command there first, or leave out --latency-table"
            )
        self.times.update((key, float(f"{time:.6g}")) for key, time in times.items())
        if self.path is None:
            return
        content = json.dumps(
            {"version": VERSION, "machine": self.machine, "times": dict(sorted(self.times.items()))}, indent=1
        )
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.path) as file:
                file.write(content.encode())
        except (OSError, OutputError):
            if self.path != default_path():
                raise OutputError(f"{self.path}: the table of latencies can't be written there") from None


def default_path() -> Path:
    """Where the user's table lies: `latency.json` in the cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "onnx-compress" / "latency.json"


def keys_of(
    models: Mapping[str, Model], feeds: Mapping[str, np.ndarray], threads: int, where: str | None = None
) -> dict[str, str]:
    """A key for each of some models that are timed together.

    It holds the structure of all of them, since times of different runs do not compare, the shapes fed, the
    machine (`where`; None: this one), onnxruntime's release, and the number of threads.
    """
    structures = {name: structure_of(model) for name, model in models.items()}
    setting = repr((sorted(structures.values()), *setting_of(feeds, threads, where)))
    together = hashlib.sha256(setting.encode()).hexdigest()[:24]
    return {name: f"{together}-{structure[:24]}" for name, structure in structures.items()}


def setting_of(feeds: Mapping[str, np.ndarray], threads: int, where: str | None = None) -> tuple[object, ...]:
    """What a time hangs on beside the model."""
    shapes = sorted((name, array.shape, str(array.dtype)) for name, array in feeds.items())
    return shapes, threads, where or machine(), onnxruntime.__version__


def structure_of(model: Model) -> str:
    """A digest of operators, attributes and shapes; of weights only the type and shape count."""
    return hashlib.sha256(model.skeleton(SMALL, is_dense=True).SerializeToString(deterministic=True)).hexdigest()


def _is_table(content: object) -> bool:
    return (
        isinstance(content, dict)
        and content.get("version") == VERSION
        and isinstance(content.get("machine", ""), str)
        and isinstance(content.get("times"), dict)
        and all(isinstance(time, float | int) and time > 0 for time in content["times"].values())
    )
