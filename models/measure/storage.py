"""Measure how fast a model of 25 million parameters is encoded, packed, unpacked and loaded; printed as a table.

    python -m models.measure.storage

The model is ResNeXt-50 with random weights, clustered to 16 values, dense or with 70 % zeros. Speeds are in megabytes
(10⁶ bytes) of plain float32 weights per second: `encode` is the pass alone, `pack` and `unpack` are whole commands;
pack also unpacks its output to verify it. Loading is timed in separate processes, alternating between the encoded and
the plain model; memory is the peak of such a process.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import onnx

from models.architectures import build

SPECS = ("cluster:bits=4", "sparsify:sparsity=0.7,cluster:bits=4")
TURNS = 7
HEADING = """\
| pipeline | encoded | packed | packed plain | encode | pack | pack plain | unpack plain | load | memory |
|---|---|---|---|---|---|---|---|---|---|"""
LOAD = """
import resource, sys, time
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.log_severity_level = 3
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.perf_counter()
onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
seconds = time.perf_counter() - started
print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def run(*words: str | Path) -> float:
    """Run a command; returns its seconds."""
    started = time.perf_counter()
    subprocess.run(["onnx-compress", *map(str, words)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def loaded(path: Path) -> tuple[float, float]:
    """Seconds of loading, and the process's peak memory in MB."""
    said = subprocess.run([sys.executable, "-c", LOAD, path], check=True, capture_output=True, text=True).stdout.split()
    return float(said[0]), float(said[1]) / 1000


def measure(source: Path, spec: str, folder: Path) -> None:
    """Print the row of one pipeline."""
    plain, encoded, report = folder / "plain.onnx", folder / "encoded.onnx", folder / "report.json"
    run(source, "-p", spec, "--raw", "--force", "-q", "-o", plain)
    run(plain, "-p", "encode", "--raw", "--force", "-q", "-o", encoded, "--report", report)
    figures = json.loads(report.read_text())
    size = 4e-6 * figures["input"]["parameters"]
    seconds = [figures["passes"][0]["seconds"]]
    seconds.append(run("pack", encoded, "--force", "-o", folder / "encoded.ocz"))
    seconds.append(run("pack", encoded, "--plain", "--force", "-o", folder / "plain.ocz"))
    seconds.append(run("unpack", folder / "plain.ocz", "--force", "-o", folder / "back.onnx"))
    turns = [(loaded(plain), loaded(encoded)) for _ in range(TURNS)]
    times, peaks = [statistics.median(b[i] / a[i] for a, b in turns) for i in range(2)]
    bytes_of = [path.stat().st_size / 1e6 for path in (encoded, folder / "encoded.ocz", folder / "plain.ocz")]
    cells = [*(f"{each:.2f} MB" for each in bytes_of), *(f"{size / each:.0f} MB/s" for each in seconds)]
    print(f"| `{spec}` | {' | '.join(cells)} | {times:.2f}× | {peaks:.2f}× |", flush=True)


def main() -> None:
    """Build the model and print the table."""
    print(HEADING)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        onnx.save(build("resnext50"), folder / "in.onnx")
        for spec in SPECS:
            measure(folder / "in.onnx", spec, folder)


if __name__ == "__main__":
    main()
