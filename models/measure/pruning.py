"""Print how much pruning half of all channels removes from each net of `models.nets`.

    python -m models.measure.pruning [EXPORTER]

'removed' is the percentage of parameters removed with every second channel of every group; 'exact' is the same
without coupled groups (LayerNormalization and similar operators); 'half as wide' is the percentage by which the torch
net built with half the inner width is smaller. 'difference' is the largest deviation of the pruned net from one with
zeros in these channels, relative to the output's scale, over the exact groups.
"""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime

from models.nets import build, get, names
from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.analysis.cost import Cost
from onnx_compress.compiler.ir.model import Model
from tests.pruning import distance, is_exact, pruned, zeroed

HEAD = "| net | groups | removed % | exact % | half as wide % | difference |"


def run(model: Model, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.proto().SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def row(name: str, exporter: str) -> str:
    net = get(name)
    model = Model.from_proto(build(name, exporter=exporter))
    before = Cost.of(model).parameters
    exact, everything = pruned(model, is_exact), pruned(model)
    removed, safely = (100 * (1 - Cost.of(twin).parameters / before) for twin in (everything, exact))
    half = 100 * (1 - net.parameters(2) / net.parameters())
    feeds = net.feeds(3)
    far = distance(run(zeroed(model, is_exact), feeds), run(exact, feeds))
    groups = ChannelGroups.of(model)
    count = f"{len(groups.prunable)} of {len(groups.groups)}"
    return f"| {name} | {count} | {removed:.0f} | {safely:.0f} | {half:.0f} | {far:.0e} |"


def main(exporter: str = "torchscript-eval") -> None:
    onnxruntime.set_default_logger_severity(3)
    print(HEAD)
    print("|" + " --- |" * (HEAD.count("|") - 1))
    for name in names():
        print(row(name, exporter), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:2])
