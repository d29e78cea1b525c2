"""Compare our recipes with nncodec, the coder of MPEG's standard for weights, at equal error; printed as a table.

    python -m models.measure.nncodec_comparison FOLDER NNCODEC_PYTHON [MODEL ...]

NNCODEC_PYTHON is the Python of an environment with nncodec (2.1.3 here), torch and NumPy. The figure for nncodec is the
smallest of its streams of the original weights, from fine to coarse, whose error on the test samples is at most ours:
it is chosen on the same samples it is judged on, which no recipe was. Its bytes are those of the weights alone, ours
those of the whole model.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx

from models.measure.contract import ROWS, accuracy, packed, samples

QUANTIZERS = range(-36, -7, 2)
"""Quantization parameters: an increase by 4 doubles the step size."""


def ours(name: str, model: Path, train: Path, into: Path) -> Path:
    """The model compressed by its recipe."""
    out = into / f"{name}.onnx"
    words = [*ROWS[name].options.split(), "--data", train, "-q", "--force", "-o", out]
    subprocess.run(["onnx-compress", model, *map(str, words)], check=True)
    return out


def theirs(model: Path, python: str, into: Path, quantizer: int) -> tuple[int, Path]:
    """Size of nncodec's stream of the float weights in bytes, and the model with the decoded weights."""
    proto = onnx.load(model)
    weights = {each.name: each for each in proto.graph.initializer if each.data_type == onnx.TensorProto.FLOAT}
    np.savez(into / "in.npz", **{name: onnx.numpy_helper.to_array(each) for name, each in weights.items()})
    script = Path(__file__).with_name("nncodec_code.py")
    words = [python, str(script), str(into / "in.npz"), str(into / "out.npz"), str(quantizer)]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    for name, array in np.load(into / "out.npz").items():
        weights[name].CopyFrom(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    onnx.save(proto, into / "decoded.onnx")
    return int(said.split()[-1]), into / "decoded.onnx"


def compare(name: str, folder: Path, python: str, into: Path) -> None:
    """Print the row of one model."""
    row = ROWS[name]
    model = folder / "models" / f"{row.model}.onnx"
    train, test = (samples(folder, into, row.dataset, *split) for split in (row.train, row.test))
    result = ours(name, model, train, into)
    most, size = 1 - accuracy(result, test), packed(result)
    found = []
    for quantizer in QUANTIZERS:
        count, decoded = theirs(model, python, into, quantizer)
        error = 1 - accuracy(decoded, test)
        if error <= most:
            found.append((count, error, quantizer))
    rival = "no stream has an error this small | | |"
    if found:
        count, error, quantizer = min(found)
        rival = f"{count:,} B | {error:.2%} (QP {quantizer}) | {count / size:.2f}× |"
    print(f"| {name} | {1 - accuracy(model, test):.2%} | {size:,} B | {most:.2%} | {rival}", flush=True)


def main(words: list[str]) -> None:
    """See the module."""
    folder, python = Path(words[0]).resolve(), words[1]
    print(
        "| model | original's error | ours | error | nncodec | error | nncodec / ours |\n|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as into:
        for name in words[2:] or ("lenet5", "lenet_300_100", "resnet20_cifar10"):
            compare(name, folder, python, Path(into))


if __name__ == "__main__":
    main(sys.argv[1:])
