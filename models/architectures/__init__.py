"""Well-known architectures at full size, with seeded random weights, exported to ONNX.

Widths, depths and the 1,000 classes are the published ones; auxiliary heads, which serve only training, are left out.
The batch is a dynamic axis called N. Each family is one module, built from the blocks of `models.nets` where possible.
"""

from __future__ import annotations

import onnx
from torch import nn

from models.architectures import branching, mobile, residual, transformers
from models.architectures.catalog import Architecture
from models.nets.export import Exporter, export
from models.nets.weights import randomize

FAMILIES = (residual, mobile, branching, transformers)
ARCHITECTURES: dict[str, Architecture] = {found.name: found for family in FAMILIES for found in family.ARCHITECTURES}


def names() -> list[str]:
    """Names of all architectures, family by family."""
    return list(ARCHITECTURES)


def get(name: str) -> Architecture:
    """The architecture's description.

    Raises:
        KeyError: unknown name.
    """
    if name not in ARCHITECTURES:
        raise KeyError(f"no architecture is called {name!r}; there are {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]


def module(name: str, seed: int = 0) -> nn.Module:
    """The torch module in eval mode."""
    made = get(name).make()
    randomize(made, name, seed, fresh=False)
    return made.eval()


def build(name: str, seed: int = 0, *, exporter: str = "torchscript-eval", opset: int = 20) -> onnx.ModelProto:
    """The exported model; `exporter` and `opset` as in `models.nets.build`.

    Exported on every call, in seconds: all of them together take a gigabyte, too much for memory or a cache.
    """
    return export(module(name, seed), get(name), Exporter(exporter), opset)
