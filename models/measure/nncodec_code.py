"""Code the arrays of an .npz with nncodec and decode them again; run by a Python of its own that has nncodec.

    NNCODEC_PYTHON models/measure/nncodec_code.py IN.npz OUT.npz QP

Prints the bytes of the stream; OUT.npz gets the arrays as they are decoded. QP is the quantization parameter, larger
being coarser. Everything else is as nncodec has it by default.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile

import numpy as np
import torch


def stand_in() -> object:
    """nncodec imports torchvision, of which the wheel fails beside a torch for the CPU unless these are declared."""
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
