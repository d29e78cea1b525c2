"""onnx-compress: makes trained ONNX models smaller and faster, and proves it.

::

    result = onnx_compress.compress("model.onnx", "prune,quantize", data="calibration.npz")
    result.save("small.onnx")
"""

from __future__ import annotations

from pathlib import Path as _Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx_compress.compiler.pipeline.api import Result, compress, load, session
    from onnx_compress.compiler.pipeline.settings import Settings

__all__ = ["Result", "Settings", "compress", "load", "session"]

for _name in ("compiler", "passes"):
    # A checkout without symbolic links (git with core.symlinks=false) has text files in their place.
    if not (_Path(__file__).parent / _name).is_dir():
        raise ImportError(
            f"{_Path(__file__).parent / _name} must be a symbolic link to ../{_name}: "
            "check out again with 'git config core.symlinks true', or install the wheel"
        )


def __getattr__(name: str) -> Any:
    """The public names, loaded when first used: `import onnx_compress.compiler.ir` needs no onnxruntime."""
    if name not in __all__:
        raise AttributeError(f"module 'onnx_compress' has no attribute '{name}'; it has {', '.join(__all__)}")
    from onnx_compress.compiler.pipeline import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
