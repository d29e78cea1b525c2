"""Code the arrays of an .npz with nncodec and decode them again; run with the Python of an nncodec environment.

    NNCODEC_PYTHON models/measure/nncodec_code.py IN.npz OUT.npz QP

Prints the size of the stream in bytes, and writes the decoded arrays to OUT.npz. QP is the quantization parameter;
larger is coarser. All other settings are nncodec's defaults.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile

import numpy as np
import torch


def stand_in() -> object:
    """Declare operators without which torchvision, imported by nncodec, fails next to a torch built for the CPU."""
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def main(source: str, target: str, qp: int) -> None:
    """See the module."""
    library = stand_in()
    from nncodec import nn

    arrays = dict(np.load(source))
    with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as folder:
        stream = nn.encode(arrays, {"qp": qp, "verbose": False, "results": folder})
        decoded = nn.decode(stream)
    np.savez(target, **{name: np.asarray(decoded[name]).reshape(arrays[name].shape) for name in arrays})
    print(len(stream))
    del library


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
