"""Run the rows of the results table on a folder of models with known accuracy, and print the figures.

    python -m models.measure.contract FOLDER [ROW ...]

FOLDER contains `models/*.onnx` and `tools/datasets.py NAME SPLIT COUNT OUT.npz`, which writes labelled data. Each
row runs the command line as a user would, with only training samples; accuracy is then measured once on the
test split, and latency interleaved with the original's.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import onnx_compress
from onnx_compress.compiler.runtime.session import create
from onnx_compress.compiler.runtime.timing import latency


@dataclass(frozen=True)
class ContractRow:
    """One row: a model, its calibration data and test data, and the options."""

    model: str
    dataset: str
    train: tuple[str, int]
    test: tuple[str, int]
    options: str


RECIPES = Path(__file__).parents[1] / "recipes"
CIFAR = ("cifar10", ("train", 512), ("test", 10000))
MANY = ("cifar10", ("train", 2048), ("test", 10000))
MNIST = ("mnist", ("train10k", 10000), ("t10k", 10000))  # sorted by class: a part would lack some classes
ROWS = {
    "resnet20-quantize": ContractRow("resnet20_cifar10", *CIFAR, "-p quantize"),
    "resnet20-prune-quantize": ContractRow("resnet20_cifar10", *CIFAR, "-p prune,quantize"),
    "resnet20-prune30-quantize": ContractRow("resnet20_cifar10", *CIFAR, "-p prune:ratio=0.3,quantize"),
    "vgg-quantize": ContractRow("vgg_cifar10", *CIFAR, "-p quantize"),
    "resnet20-prune30": ContractRow("resnet20_cifar10", *MANY, "-p prune:ratio=0.3"),
    "resnet20-prune50": ContractRow("resnet20_cifar10", *MANY, "-p prune:ratio=0.5"),
    "resnet20-blocks30": ContractRow("resnet20_cifar10", *MANY, "-p prune-blocks:ratio=0.3"),
    "vgg-prune50": ContractRow("vgg_cifar10", *MANY, "-p prune:ratio=0.5"),
    "vgg-latency50": ContractRow("vgg_cifar10", *MANY, "-p prune:latency=0.5"),
    "lenet5-prune60": ContractRow("lenet5", *MNIST, f"--recipe {RECIPES / 'lenet5-prune60.toml'}"),
    "vgg-prune-quantize": ContractRow("vgg_cifar10", *CIFAR, "-p prune,quantize"),
    "lenet5-prune-quantize": ContractRow("lenet5", *MNIST, "-p prune,quantize"),
    "lenet5": ContractRow("lenet5", *MNIST, f"--recipe {RECIPES / 'lenet5.toml'}"),
    "lenet_300_100": ContractRow("lenet_300_100", *MNIST, f"--recipe {RECIPES / 'lenet_300_100.toml'}"),
    "lenet5_dns": ContractRow("lenet5_dns", *MNIST, f"--recipe {RECIPES / 'lenet5_dns.toml'}"),
    "lenet_300_100_dns": ContractRow("lenet_300_100_dns", *MNIST, f"--recipe {RECIPES / 'lenet_300_100_dns.toml'}"),
    "resnet20_cifar10": ContractRow("resnet20_cifar10", *MANY, f"--recipe {RECIPES / 'resnet20_cifar10.toml'}"),
    "vgg_cifar10": ContractRow("vgg_cifar10", *MANY, f"--recipe {RECIPES / 'vgg_cifar10.toml'}"),
}


def accuracy(path: Path, data: Path) -> float:
    """Share of the labelled samples that the model classifies correctly."""
    arrays = np.load(data, allow_pickle=False)
    session = create(path)
    name = session.inputs[0].name
    hits = 0
    for start in range(0, len(arrays["labels"]), 250):
        scores = next(iter(session.run({name: arrays[name][start : start + 250]}).values()))
        hits += int((scores.argmax(-1) == arrays["labels"][start : start + 250]).sum())
    return hits / len(arrays["labels"])


def packed(model: Path) -> int:
    """Size of the model in bytes as an entropy-coded file with plain weights."""
    out = model.with_suffix(".ocz")
    words = ["onnx-compress", "pack", model, "--plain", "-o", out, "--force"]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return out.stat().st_size


def sparse(model: Path, feeds: dict[str, np.ndarray]) -> int:
    """Size of the model in bytes with sparse initializers where smaller; checks that its outputs stay the same."""
    out = model.with_suffix(".sparse.onnx")
    words = ["onnx-compress", model, "-p", "encode:form=sparse", "--raw", "-q", "--force", "-o", out]
    subprocess.run(words, check=True)
    found, expected = (create(path).run(feeds) for path in (out, model))
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    return out.stat().st_size


def samples(folder: Path, into: Path, dataset: str, split: str, count: int) -> Path:
    """The file of the data, written on first use."""
    path = into / f"{dataset}_{split}_{count}.npz"
    if not path.exists():
        subprocess.run([sys.executable, folder / "tools/datasets.py", dataset, split, str(count), path], check=True)
    return path


def run(name: str, row: ContractRow, folder: Path, into: Path) -> None:
    """Compress, then measure the resulting file."""
    model = folder / "models" / f"{row.model}.onnx"
    train = samples(folder, into, row.dataset, *row.train)
    test = samples(folder, into, row.dataset, *row.test)
    out, report = into / f"{name}.onnx", into / f"{name}.json"
    words = [*shlex.split(row.options), "--data", str(train), "--report", str(report), "--force", "-q"]
    started = time.perf_counter()
    status = subprocess.run(["onnx-compress", str(model), *words, "-o", str(out)], check=False).returncode
    seconds = time.perf_counter() - started
    figures = json.loads(report.read_text())
    before, after = accuracy(model, test), accuracy(out, test)
    feeds = {key: value[:1] for key, value in np.load(test).items() if key != "labels"}
    times = latency.interleaved({"before": create(model), "after": create(out)}, feeds)
    print(f"{name}: onnx-compress {row.model}.onnx {row.options} (exit {status}, {seconds:.0f} s)")
    print(f"  accuracy {before:.2%} -> {after:.2%} on {row.test[1]} test samples")
    print(f"  file {out.stat().st_size / model.stat().st_size:.3f}x ({out.stat().st_size:,} bytes)")
    small = packed(out)
    print(f"  packed {small / model.stat().st_size:.4f}x ({small:,} bytes)")
    print(f"  with sparse initializers the same outputs in {sparse(out, feeds):,} bytes")
    print(f"  latency {times['after'].median_ms / times['before'].median_ms:.3f}x ({times['after'].median_ms:.3f} ms)")
    print(f"  parameters {figures['output']['parameters'] / figures['input']['parameters']:.3f}x")
    print(f"  MACs {figures['output']['macs'] / figures['input']['macs']:.3f}x")
    print(
        f"  held-out {figures['metric']['name']}: {figures['metric']['before']:.2f} -> {figures['metric']['after']:.2f}"
    )
    for entry in figures["passes"]:
        kept = "kept" if entry["kept"] else "rolled back"
        print(f"  {entry['name']}: {kept} {entry['reason']}")


def main(words: list[str]) -> None:
    """Run the named rows, or all."""
    folder = Path(words[0]).resolve()
    print(f"onnx-compress from {Path(onnx_compress.__file__).parent}")
    with tempfile.TemporaryDirectory() as into:
        for name in words[1:] or ROWS:
            run(name, ROWS[name], folder, Path(into))


if __name__ == "__main__":
    main(sys.argv[1:])
