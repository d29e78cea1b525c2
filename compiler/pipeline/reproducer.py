"""The files left when a pass fails: the last good model, and a description that reproduces the failure."""

from __future__ import annotations

import platform
import traceback
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from onnx_compress.compiler.errors import CompressError, PassError
from onnx_compress.compiler.ir.files.save import replacing
from onnx_compress.compiler.ir.model import Model

PACKAGES = ("onnx-compress", "onnx", "onnxruntime", "onnx-graphsurgeon", "numpy")


def versions() -> dict[str, str]:
    """Versions of everything that a result depends on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def leave(error: BaseException, out: Path, command: str) -> list[Path]:
    """Write `OUT.partial.onnx` (a failed pass's last good model) and `OUT.failure.txt` next to `out`.

    Returns the files that could be written: a failure here must not hide the reported one.
    """
    left = []
    good = error.last_good if isinstance(error, PassError) else None
    if isinstance(good, Model):
        partial = out.with_name(f"{out.stem}.partial.onnx")
        with suppress(CompressError, OSError):
            good.save(partial, force=True)
            left.append(partial)
    notes = out.with_name(f"{out.stem}.failure.txt")
    with suppress(CompressError, OSError), replacing(notes) as file:
        file.write(_story(error, command).encode())
    if notes.exists():
        left.append(notes)
    return left


def _story(error: BaseException, command: str) -> str:
    lines = [f"command: {command}"]
    if isinstance(error, PassError):
        lines += [f"failed pass: {error.pass_name}", f"passes before: {', '.join(error.passes_before) or 'none'}"]
        lines += [f"node: {error.node}"] if error.node else []
    lines += [f"{name}: {version}" for name, version in versions().items()]
    return "\n".join([*lines, "", "".join(traceback.format_exception(error))])
