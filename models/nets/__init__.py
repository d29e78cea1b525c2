"""Small torch nets of many structures, with seeded random weights, exported to ONNX.

Widths that pruning acts on are multiples of 16, the batch is a dynamic axis called N, and every net has fewer than
300,000 parameters. Each family is one module.
"""

from __future__ import annotations

import onnx
from torch import nn

from models import store
from models.nets import attention, branches, gates, maps, mobile, norms, recurrent, residual
from models.nets.catalog import Net
from models.nets.export import Exporter, export
from models.nets.weights import randomize

FAMILIES = (residual, mobile, branches, gates, maps, norms, recurrent, attention)
NETS: dict[str, Net] = {net.name: net for family in FAMILIES for net in family.NETS}


def names() -> list[str]:
    """Names of all nets, family by family."""
    return list(NETS)


def get(name: str) -> Net:
    """The net's description: inputs to feed, outputs, parameters.

    Raises:
        KeyError: unknown name.
    """
    if name not in NETS:
        raise KeyError(f"no net is called {name!r}; there are {', '.join(NETS)}")
    return NETS[name]


def module(name: str, seed: int = 0, *, shrink: int = 1) -> nn.Module:
    """The torch module in eval mode, with its inner widths divided by `shrink`."""
    net = get(name)
    made = net.make(shrink)
    randomize(made, name, seed, fresh=net.fresh)
    return made.eval()


def build(name: str, seed: int = 0, *, exporter: str = "torchscript", opset: int = 20) -> onnx.ModelProto:
    """The exported model, the caller's own copy; `exporter` is one of `Exporter`.

    Opsets: 18 to 20; the dynamo exporters also support later ones (GroupNormalization from 21, Attention from 23).

    Each export runs once per process and once per cache folder (`store.keep_in`); same arguments give same bytes.
    """
    kind = Exporter(exporter)

    def make() -> bytes:
        made = export(module(name, seed), get(name), kind, opset)
        return bytes(made.SerializeToString(deterministic=True))

    return onnx.load_from_string(store.fetch(f"{name}-{seed}-{kind}-{opset}", make))
