"""Nets that branch and concatenate: SqueezeNet, DenseNet, GoogLeNet (with BatchNorm), Inception v3."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.architectures.catalog import CLASSES, Architecture, head, named, pooled
from models.nets.branches import DenseLayer, Fire
from models.nets.catalog import image

Kernel = int | tuple[int, int]
Step = tuple[int, Kernel] | tuple[int, Kernel, int]
"""Channels, kernel, and optionally the stride of a convolution without padding; without it, the map keeps its size."""


class Branches(nn.Module):
    """The concatenated outputs of the branches."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def conv(c_in: int, c_out: int, kernel: Kernel, stride: int | None = None) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU."""
    sides = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (sides[0] // 2, sides[1] // 2) if stride is None else 0
    weights = nn.Conv2d(c_in, c_out, sides, stride or 1, padding, bias=False)
    return nn.Sequential(weights, nn.BatchNorm2d(c_out), nn.ReLU())


def chain(c_in: int, *steps: Step) -> nn.Sequential:
    """A sequence of convolutions."""
    made = nn.Sequential()
    for c_out, *rest in steps:
        made.append(conv(c_in, c_out, *rest))
        c_in = c_out
    return made


def _max_pool() -> nn.Module:
    return nn.MaxPool2d(3, 2, ceil_mode=True)


def squeezenet1_1() -> nn.Module:
    """SqueezeNet 1.1 (Iandola et al., 2016); the classes are the channels of the last convolution."""
    plan = (16, 64), (16, 64), None, (32, 128), (32, 128), None, (48, 192), (48, 192), (64, 256), (64, 256)
    stem = nn.Sequential(nn.Conv2d(3, 64, 3, 2), nn.ReLU(), _max_pool())
    fires, c_in = nn.Sequential(), 64
    for widths in plan:
        if widths is None:
            fires.append(_max_pool())
            continue
        fires.append(Fire(c_in, *widths))
        c_in = 2 * widths[1]
    classes = nn.Sequential(nn.Dropout(), nn.Conv2d(512, CLASSES, 1), nn.ReLU())
    return named(stem=stem, fires=fires, classes=classes, pool=pooled())


def densenet121() -> nn.Module:
    """Growth 32; each 1×1 convolution has four times as many channels, and each transition halves the channels."""
    growth, c_in = 32, 64
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    blocks = nn.Sequential()
    for depth in (6, 12, 24, 16):
        if len(blocks):
            shrink = nn.Conv2d(c_in, c_in // 2, 1, bias=False)
            blocks.append(nn.Sequential(nn.BatchNorm2d(c_in), nn.ReLU(), shrink, nn.AvgPool2d(2)))
            c_in //= 2
        blocks.append(nn.Sequential(*(DenseLayer(c_in + i * growth, growth, 4 * growth) for i in range(depth))))
        c_in += depth * growth
    last = nn.Sequential(nn.BatchNorm2d(c_in), nn.ReLU())
    return named(stem=nn.Sequential(*stem), blocks=blocks, last=last, head=head(c_in))


GOOGLENET = (
    (64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64), None,
    (192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64), (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128), None,
    (256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128),
)  # fmt: skip
"""1×1; 1×1 before 3×3, 3×3; 1×1 before 5×5, 5×5; 1×1 after the pool. None: a max pool."""


def googlenet() -> nn.Module:
    """Going deeper with convolutions (Szegedy et al., 2014), with BatchNorm instead of biases, as trained today."""
    stem = nn.Sequential(conv(3, 64, 7), _max_pool(), conv(64, 64, 1), conv(64, 192, 3), _max_pool())
    stem[0][0].stride = (2, 2)
    blocks, c_in = nn.Sequential(), 192
    for row in GOOGLENET:
        if row is None:
            blocks.append(_max_pool())
            continue
        one, before3, three, before5, five, after = row
        pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(c_in, after, 1))
        chains = (chain(c_in, (one, 1)), chain(c_in, (before3, 1), (three, 3)), chain(c_in, (before5, 1), (five, 5)))
        blocks.append(Branches(*chains, pool))
        c_in = one + three + five + after
    return named(stem=stem, blocks=blocks, head=head(c_in))


def _averaged(c_in: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(nn.AvgPool2d(3, 1, 1), conv(c_in, c_out, 1))


def _fives(c_in: int, after: int) -> nn.Module:
    """Figure 5 of the paper: two 3×3 convolutions instead of 5×5."""
    five, threes = chain(c_in, (48, 1), (64, 5)), chain(c_in, (64, 1), (96, 3), (96, 3))
    return Branches(conv(c_in, 64, 1), five, threes, _averaged(c_in, after))


def _sevens(inner: int) -> nn.Module:
    """Figure 6: 1×7 and 7×1 instead of 7×7."""
    row, column = (1, 7), (7, 1)
    once = chain(768, (inner, 1), (inner, row), (192, column))
    twice = chain(768, (inner, 1), (inner, column), (inner, row), (inner, column), (192, row))
    return Branches(conv(768, 192, 1), once, twice, _averaged(768, 192))


def _wide(c_in: int) -> nn.Module:
    """Figure 7: branches that end in parallel 1×3 and 3×1 convolutions."""

    def ends() -> nn.Module:
        return Branches(conv(384, 384, (1, 3)), conv(384, 384, (3, 1)))

    three = nn.Sequential(conv(c_in, 384, 1), ends())
    threes = nn.Sequential(chain(c_in, (448, 1), (384, 3)), ends())
    return Branches(conv(c_in, 320, 1), three, threes, _averaged(c_in, 192))


def inception_v3() -> nn.Module:
    """Rethinking the inception architecture (Szegedy et al., 2015)."""
    valid = nn.MaxPool2d(3, 2)
    stem = nn.Sequential(
        chain(3, (32, 3, 2), (32, 3, 1), (64, 3)),
        nn.MaxPool2d(3, 2),
        chain(64, (80, 1), (192, 3, 1)),
        nn.MaxPool2d(3, 2),
    )
    first = nn.Sequential(_fives(192, 32), _fives(256, 64), _fives(288, 64))
    smaller = Branches(chain(288, (384, 3, 2)), chain(288, (64, 1), (96, 3), (96, 3, 2)), valid)
    second = nn.Sequential(*(_sevens(inner) for inner in (128, 160, 160, 192)))
    sevens = chain(768, (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2))
    smallest = Branches(chain(768, (192, 1), (320, 3, 2)), sevens, valid)
    third = nn.Sequential(_wide(1280), _wide(2048))
    return named(
        stem=stem, first=first, smaller=smaller, second=second, smallest=smallest, third=third, head=head(2048)
    )


ARCHITECTURES = (
    Architecture(name="densenet121", inputs=image(3, 224, 224), make=densenet121, parameters=7_978_856),
    Architecture(name="squeezenet1_1", inputs=image(3, 224, 224), make=squeezenet1_1, parameters=1_235_496),
    Architecture(name="googlenet", inputs=image(3, 224, 224), make=googlenet, parameters=7_005_832),
    Architecture(name="inception_v3", inputs=image(3, 299, 299), make=inception_v3, parameters=23_834_568),
)
