"""Prune the models of a folder by every criterion, and print the remaining accuracy.

    python -m models.measure.criteria FOLDER [MODEL:CRITERION ...]

FOLDER is as for `contract.py`. Every criterion calibrates on the same 1,024 training images; accuracy is measured on
4,096 other training images, because the figures serve to choose a criterion. The criterion that needs the scale of a
normalization is tried on the model that kept its normalizations.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from models.measure.contract import accuracy

CRITERIA = ("obs", "lasso", "energy", "activation", "l1", "l2", "fpgm", "penni", "random")
MODELS = {"resnet20_cifar10": CRITERIA, "vgg_cifar10": CRITERIA, "resnet20_cifar10_bn": ("bn", "obs")}
RATIOS = (0.3, 0.5)
CALIBRATED, SET_APART, JUDGED = 1024, 2048, 4096
"""The first 2,048 training images are for calibration, of which the first 1,024 are used; the next 4,096 judge."""


def data(folder: Path, into: Path) -> tuple[Path, Path]:
    """Two files of disjoint training images."""
    both = into / "both.npz"
    command = [sys.executable, folder / "tools/datasets.py", "cifar10", "train", str(SET_APART + JUDGED), both]
    subprocess.run(command, check=True)
    arrays = np.load(both, allow_pickle=False)
    paths = into / "calibrate.npz", into / "judge.npz"
    for path, part in zip(paths, (slice(CALIBRATED), slice(SET_APART, None)), strict=True):
        np.savez(path, **{name: array[part] for name, array in arrays.items()})
    return paths


def pruned(model: Path, options: str, calibrate: Path, out: Path) -> float:
    """Prune as a user would; returns the seconds it took."""
    # By default, the pipeline starts by folding normalizations.
    passes = f"simplify:keep_batchnorm=true,prune:{options}" if model.stem.endswith("_bn") else f"prune:{options}"
    command = ["-m", "onnx_compress.compiler.cli.main", str(model), "-p", passes, "--data", str(calibrate)]
    started = time.perf_counter()
    subprocess.run([sys.executable, *command, "-o", str(out), "--force", "-q"], check=False)
    return time.perf_counter() - started


def main(words: list[str]) -> None:
    """Print a row for each named model and criterion, or for all."""
    folder = Path(words[0]).resolve()
    every = [f"{model}:{name}" for model, own in MODELS.items() for name in own]
    with tempfile.TemporaryDirectory() as scratch:
        into = Path(scratch)
        calibrate, judge = data(folder, into)
        print("| model | criterion | " + " | ".join(f"{ratio:.0%} fewer MACs" for ratio in RATIOS) + " | seconds |")
        print("|---|---|" + "---|" * (len(RATIOS) + 1))
        for model in dict.fromkeys(word.partition(":")[0] for word in words[1:] or every):
            path = folder / "models" / f"{model}.onnx"
            print(f"| {model} | none | " + " | ".join([f"{100 * accuracy(path, judge):.2f}"] * len(RATIOS)) + " | |")
            for word in words[1:] or every:
                if word.startswith(f"{model}:"):
                    row(path, word.partition(":")[2], calibrate, judge)


def row(path: Path, criterion: str, calibrate: Path, judge: Path) -> None:
    """Accuracy at each ratio."""
    out = calibrate.with_name("out.onnx")
    found, seconds = [], 0.0
    for ratio in RATIOS:
        seconds += pruned(path, f"ratio={ratio}:criterion={criterion}", calibrate, out)
        found.append(f"{100 * accuracy(out, judge):.2f}")
    print(f"| {path.stem} | {criterion} | " + " | ".join(found) + f" | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
