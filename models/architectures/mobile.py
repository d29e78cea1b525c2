"""Nets for phones: MobileNet v2 and v3, MnasNet, EfficientNet, ShuffleNet v2."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from models.architectures.catalog import CLASSES, Architecture, head, named, pooled
from models.nets.catalog import image
from models.nets.mobile import InvertedResidual, ShuffleUnit
from models.nets.residual import SqueezeExcite, conv_bn

Act = type[nn.Module]
V2 = ((1, 3, 16, 1, 1), (6, 3, 24, 2, 2), (6, 3, 32, 3, 2), (6, 3, 64, 4, 2), (6, 3, 96, 3, 1), (6, 3, 160, 3, 2),
      (6, 3, 320, 1, 1))  # fmt: skip
"""Rows of the paper's table: expansion, kernel, channels, number of blocks, stride of the first block."""
MNASNET = ((1, 3, 8, 1, 1), (3, 3, 16, 3, 2), (3, 5, 24, 3, 2), (6, 5, 40, 3, 2), (6, 3, 48, 2, 1), (6, 5, 96, 4, 2),
           (6, 3, 160, 1, 1))  # fmt: skip
"""Depth multiplier 0.5, channels rounded to multiples of 8."""
EFFICIENTNET = ((1, 3, 16, 1, 1), (6, 3, 24, 2, 2), (6, 5, 40, 2, 2), (6, 3, 80, 3, 2), (6, 5, 112, 3, 1),
                (6, 5, 192, 4, 2), (6, 3, 320, 1, 1))  # fmt: skip
R, H = nn.ReLU, nn.Hardswish
V3_SMALL = ((3, 16, 16, True, R, 2), (3, 72, 24, False, R, 2), (3, 88, 24, False, R, 1), (5, 96, 40, True, H, 2),
            (5, 240, 40, True, H, 1), (5, 240, 40, True, H, 1), (5, 120, 48, True, H, 1), (5, 144, 48, True, H, 1),
            (5, 288, 96, True, H, 2), (5, 576, 96, True, H, 1), (5, 576, 96, True, H, 1))  # fmt: skip
"""Kernel, channels inside, channels, gated or not, activation, stride."""


def _stem(c_out: int, act: Act) -> nn.Sequential:
    return nn.Sequential(conv_bn(3, c_out, stride=2), act())


def _blocks(rows: tuple[tuple[int, ...], ...], c_in: int, act: Act, gated: bool = False) -> nn.Sequential:
    made = nn.Sequential()
    for expansion, kernel, c_out, count, first in rows:
        for i in range(count):
            inner = expansion * c_in
            gate = SqueezeExcite(inner, c_in // 4, act=F.silu) if gated else None
            stride = first if i == 0 else 1
            made.append(InvertedResidual(c_in, c_out, stride, act, inner=inner, kernel=kernel, gate=gate))
            c_in = c_out
    return made


def _last(c_in: int, act: Act) -> nn.Sequential:
    return nn.Sequential(conv_bn(c_in, 1280, 1), act())


def mobilenet_v2() -> nn.Module:
    return named(stem=_stem(32, nn.ReLU6), blocks=_blocks(V2, 32, nn.ReLU6), last=_last(320, nn.ReLU6), head=head(1280))


def mnasnet0_5() -> nn.Module:
    return named(stem=_stem(16, R), blocks=_blocks(MNASNET, 16, R), last=_last(160, R), head=head(1280))


def efficientnet_b0() -> nn.Module:
    act = nn.SiLU
    blocks = _blocks(EFFICIENTNET, 32, act, gated=True)
    return named(stem=_stem(32, act), blocks=blocks, last=_last(320, act), head=head(1280))


def mobilenet_v3_small() -> nn.Module:
    blocks, c_in = nn.Sequential(), 16
    for kernel, inner, c_out, gated, act, stride in V3_SMALL:
        gate = SqueezeExcite(inner, _multiple_of_8(inner / 4), nn.Hardsigmoid()) if gated else None
        blocks.append(InvertedResidual(c_in, c_out, stride, act, inner=inner, kernel=kernel, gate=gate))
        c_in = c_out
    last = nn.Sequential(conv_bn(96, 576, 1), H())
    classifier = nn.Sequential(nn.Linear(576, 1024), H(), nn.Dropout(), nn.Linear(1024, CLASSES))
    return named(stem=_stem(16, H), blocks=blocks, last=last, pool=pooled(), head=classifier)


def _multiple_of_8(width: float) -> int:
    """The nearest multiple of 8 that is at least 90 % of `width`."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width else rounded


def shufflenet_v2() -> nn.Module:
    """Width 1.0."""
    stem = nn.Sequential(conv_bn(3, 24, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    units, c_in = nn.Sequential(), 24
    for width, count in ((116, 4), (232, 8), (464, 4)):
        units.append(ShuffleUnit(width, 2, c_in))
        units.extend(ShuffleUnit(width, 1) for _ in range(count - 1))
        c_in = width
    last = nn.Sequential(conv_bn(464, 1024, 1), nn.ReLU())
    return named(stem=stem, units=units, last=last, head=head(1024))


ARCHITECTURES = (
    Architecture(name="mobilenet_v2", inputs=image(3, 224, 224), make=mobilenet_v2, parameters=3_504_872),
    Architecture(name="mobilenet_v3_small", inputs=image(3, 224, 224), make=mobilenet_v3_small, parameters=2_542_856),
    Architecture(name="mnasnet0_5", inputs=image(3, 224, 224), make=mnasnet0_5, parameters=2_218_512),
    Architecture(name="efficientnet_b0", inputs=image(3, 224, 224), make=efficientnet_b0, parameters=5_288_548),
    Architecture(name="shufflenet_v2", inputs=image(3, 224, 224), make=shufflenet_v2, parameters=2_278_604),
)
