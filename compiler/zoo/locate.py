"""Locate the file of a zoo model, for every kind of source; build it if necessary."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import onnx

from onnx_compress.compiler.errors import UserError
from onnx_compress.compiler.zoo.build import build, fill
from onnx_compress.compiler.zoo.fetch import cached_path, digest, is_cached
from onnx_compress.compiler.zoo.manifest import ZooEntry


def locate(entry: ZooEntry, cache: Path, scratch: Path) -> Path:
    """The model's file: in the cache, in an installed package, next to the manifest, or built in `scratch`.

    Raises UserError if it is missing or not the file of the manifest.
    """
    if entry.source == "built":
        return _written(build(entry.builder), entry, scratch)
    path = {"wheel": _cached, "installed": _installed, "file": _next_to_manifest}[entry.source](entry, cache)
    return _written(fill(onnx.load(path)), entry, scratch) if entry.fill else path


def _written(proto: onnx.ModelProto, entry: ZooEntry, scratch: Path) -> Path:
    path = scratch / f"{entry.name}.onnx"
    path.write_bytes(proto.SerializeToString(deterministic=True))
    return path


def _cached(entry: ZooEntry, cache: Path) -> Path:
    if not is_cached(entry, cache):
        raise UserError(f"zoo model '{entry.name}' is not in {cache}; fetch it first: onnx-compress zoo fetch")
    return cached_path(entry, cache)


def _installed(entry: ZooEntry, cache: Path) -> Path:
    spec = importlib.util.find_spec(entry.package)
    if spec is None or spec.origin is None:
        raise UserError(f"zoo model '{entry.name}': package {entry.package} is not installed")
    path = Path(spec.origin).parent / entry.member
    if not path.is_file() or digest(path) != entry.sha256:
        raise UserError(
            f"zoo model '{entry.name}': {entry.member} of the installed {entry.package} is missing or differs from "
            f"the manifest's; install the version in constraints.txt"
        )
    return path


def _next_to_manifest(entry: ZooEntry, cache: Path) -> Path:
    path = entry.base / entry.member
    if not path.is_file():
        raise UserError(f"zoo model '{entry.name}': {path} is missing")
    return path
