"""Small nets of many structures, with seeded random weights, exported to ONNX."""

from __future__ import annotations

import onnx
from torch import nn

from models.nets import attention, branches, dense_outputs, mobile, norms, recurrent, residual
from models.nets.catalog import Net
from models.nets.export import Exporter, export
from models.nets.weights import randomize

FAMILIES = (residual, mobile, branches, dense_outputs, norms, recurrent, attention)
NETS: dict[str, Net] = {net.name: net for family in FAMILIES for net in family.NETS}


def names() -> list[str]:
    return list(NETS)


def module(name: str, seed: int = 0, *, shrink: int = 1) -> nn.Module:
    net = NETS[name]
    made = net.make(shrink)
    randomize(made, name, seed, fresh=net.fresh)
    return made.eval()


def build(name: str, seed: int = 0, *, exporter: str = "torchscript") -> onnx.ModelProto:
    return export(module(name, seed), NETS[name], Exporter(exporter))
