"""The description of an architecture, and common parts of the modules in this folder."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from models.nets.catalog import NetSignature

CLASSES = 1000


@dataclass(frozen=True, kw_only=True)
class Architecture(NetSignature):
    """A published net: `make()` returns its module, which has `parameters` trained elements."""

    make: Callable[[], nn.Module]
    parameters: int


def named(**parts: nn.Module) -> nn.Sequential:
    """A sequence of named parts."""
    return nn.Sequential(OrderedDict(parts))


def pooled() -> nn.Sequential:
    """Global average pooling: (N, C, H, W) → (N, C)."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1))


def head(channels: int) -> nn.Sequential:
    """Global average pooling and a linear layer to the classes."""
    return named(pool=pooled(), classes=nn.Linear(channels, CLASSES))
