"""Print how much pruning half of all channels removes from each net of `models.architectures`, next to Torch-Pruning.

    python -m models.measure.architectures [NAME ...]

'removed', 'exact' and 'difference' are as in `models.measure.pruning`; the share of Torch-Pruning is from release
1.6.1 at ratio 0.5 on torchvision's modules of the same architectures. 'seconds' is the processor time for finding the
groups and removing half of each; 'MB' is the peak memory of that in addition to the loaded model.
"""

from __future__ import annotations

import sys
import time
import tracemalloc

import onnxruntime

from models.architectures import build, get, names
from models.measure.pruning import run
from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.analysis.cost import Cost
from onnx_compress.compiler.ir.model import Model
from tests.pruning import distance, is_exact, pruned, zeroed

TORCH_PRUNING = {
    "resnet18": "74", "resnext50": "73", "regnet_x_400mf": "73", "mobilenet_v2": "65", "mobilenet_v3_small": "64",
    "mnasnet0_5": "59", "efficientnet_b0": "68", "densenet121": "71", "squeezenet1_1": "64", "googlenet": "71",
    "inception_v3": "73", "convnext_tiny": "74", "shufflenet_v2": "ZeroDivisionError", "swin_tiny": "out of memory",
}  # fmt: skip
HEAD = "| net | parameters | nodes | groups | removed % | Torch-Pruning % | exact % | difference | seconds | MB |"


def row(name: str) -> str:
    model = Model.from_proto(build(name))
    before = Cost.of(model).parameters
    seconds, peak = measured(model)
    exact, everything = pruned(model, is_exact), pruned(model)
    removed, safely = (100 * (1 - Cost.of(twin).parameters / before) for twin in (everything, exact))
    feeds = get(name).feeds(1)
    far = distance(run(zeroed(model, is_exact), feeds), run(exact, feeds))
    groups = ChannelGroups.of(model)
    cells = (
        name, f"{before:,}", len(list(model.nodes())), f"{len(groups.prunable)} of {len(groups.groups)}",
        f"{removed:.1f}", TORCH_PRUNING.get(name, "–"), f"{safely:.1f}", f"{far:.0e}", f"{seconds:.1f}", f"{peak:.0f}",
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def measured(model: Model) -> tuple[float, float]:
    """Processor seconds and peak megabytes of pruning, measured separately, because tracing memory is slow."""
    started = time.process_time()
    pruned(model)
    seconds = time.process_time() - started
    tracemalloc.start()
    pruned(model)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return seconds, peak / 1e6


def main(wanted: list[str]) -> None:
    onnxruntime.set_default_logger_severity(3)
    print(HEAD)
    print("|" + " --- |" * (HEAD.count("|") - 1))
    for name in wanted or names():
        print(row(name), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
