"""A cache of exports, which are slow and shared by many tests: in memory, and in a folder if one is given.

Separate from `models.nets`, so that setting the folder does not import torch.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path

EXPORTERS = ("torch", "onnxscript", "onnx-ir", "onnx", "numpy")
"""Distributions whose versions can change an export's bytes."""

_memory: dict[str, bytes] = {}
_folders: list[Path] = []


def keep_in(folder: Path | None) -> None:
    """Also keep exports as files in `folder`, for later processes; None turns that off."""
    _folders[:] = [] if folder is None else [folder]


def fetch(key: str, make: Callable[[], bytes]) -> bytes:
    """The bytes for `key`: from this process, from the folder if the sources are the same, or else from `make`."""
    if key not in _memory:
        _memory[key] = _from_folder(_folders[0], key, make) if _folders else make()
    return _memory[key]


def _from_folder(root: Path, key: str, make: Callable[[], bytes]) -> bytes:
    folder = root / sources()
    path = folder / f"{key}.onnx"
    if path.exists():
        return path.read_bytes()
    data = make()
    _open(root, folder)
    # Test processes run in parallel: none may read a file that another has written only in part.
    part = folder / f"{key}.{os.getpid()}"
    part.write_bytes(data)
    part.replace(path)
    return data


def _open(root: Path, folder: Path) -> None:
    """Create the folder of the present sources, and delete those of earlier sources, which are no longer used."""
    if folder.is_dir():
        return
    for stale in root.glob("*/"):
        shutil.rmtree(stale, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)


@cache
def sources() -> str:
    """A digest of the builders' source text and the exporters' versions."""
    digest = hashlib.sha256(" ".join(version(name) for name in EXPORTERS).encode())
    for path in sorted((Path(__file__).parent / "nets").glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
