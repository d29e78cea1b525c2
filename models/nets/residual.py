"""Residual nets: basic, bottleneck, grouped, gated, with parameter-free shortcuts, with shared weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.nets.catalog import Net, image

BlockMaker = Callable[[int, int, int], nn.Module]
"""Makes a block from input channels, output channels and stride."""


Activation = Callable[[Tensor], Tensor]


def conv_bn(c_in: int, c_out: int, kernel: int = 3, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out))


class SqueezeExcite(nn.Module):
    """x · gate(W₂ act(W₁ mean(x))), as 1×1 convolutions on the pooled map."""

    def __init__(
        self, channels: int, squeezed: int, gate: nn.Module | None = None, *, act: Activation = F.relu
    ) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.gate = gate or nn.Sigmoid()
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.fc2(self.act(self.fc1(self.pool(x)))))


class Block(nn.Module):
    """relu(shortcut + body); the shortcut is a 1×1 projection if the shape changes."""

    def __init__(self, body: nn.Module, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.body = body
        same = stride == 1 and c_in == c_out
        self.shortcut = nn.Identity() if same else conv_bn(c_in, c_out, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


def basic(c_in: int, c_out: int, stride: int) -> Block:
    body = nn.Sequential(conv_bn(c_in, c_out, stride=stride), nn.ReLU(), conv_bn(c_out, c_out))
    return Block(body, c_in, c_out, stride)


def squeeze_excite(c_in: int, c_out: int, stride: int) -> Block:
    gate = SqueezeExcite(c_out, c_out // 2)
    body = nn.Sequential(conv_bn(c_in, c_out, stride=stride), nn.ReLU(), conv_bn(c_out, c_out), gate)
    return Block(body, c_in, c_out, stride)


def bottleneck(
    c_in: int, c_out: int, stride: int, groups: int = 1, gated: bool = False, inner: int | None = None
) -> Block:
    inner = inner or c_out // 2
    body = [conv_bn(c_in, inner, 1), nn.ReLU(), conv_bn(inner, inner, stride=stride, groups=groups), nn.ReLU()]
    if gated:
        body.append(SqueezeExcite(inner, inner // 4))
    body.append(conv_bn(inner, c_out, 1))
    return Block(nn.Sequential(*body), c_in, c_out, stride)


class ResNet(nn.Module):
    """Stem, blocks by `block(c_in, c_out, stride)`, global average pool, linear head."""

    def __init__(self, block: BlockMaker, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = conv_bn(3, widths[0])
        self.stages = nn.Sequential()
        previous = widths[0]
        for width in widths:
            stride = 1 if width == previous else 2
            self.stages.append(block(previous, width, stride))
            previous = width
        self.head = nn.Linear(previous, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(F.relu(self.stem(x)))
        return self.head(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class PaddedBlock(nn.Module):
    """Basic block whose shortcut is a strided slice padded with zero channels (option A of ResNet)."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_bn(c_in, c_out, stride=stride), nn.ReLU(), conv_bn(c_out, c_out))
        self.stride = stride
        self.padding = (c_out - c_in) // 2

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        if self.stride > 1:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.padding, self.padding))
        return F.relu(y + x)


class Tied(nn.Module):
    """A convolution used twice in a row, and a projection used on two maps: each weight has two readers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = conv_bn(3, width)
        self.twice = nn.Conv2d(width, width, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(width)
        self.norm2 = nn.BatchNorm2d(width)
        self.inner = nn.Conv2d(width, width, 3, 2, 1)
        self.project = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(self.norm1(self.twice(x)))
        x = F.relu(self.norm2(self.twice(x)))
        y = F.relu(self.inner(x))
        return self.project(x.mean((2, 3))) + self.project(y.mean((2, 3)))


class Chain(nn.Module):
    """A chain of equally wide blocks; with fresh normalizations, they all share the same constants."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = conv_bn(3, width)
        self.body = nn.Sequential(basic(width, width, 1), basic(width, width, 1))
        self.head = nn.Conv2d(width, 10, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(F.relu(self.stem(x)))).mean((2, 3))


def _resnet(name: str, block: BlockMaker, *widths: int) -> Net:
    return Net(name=name, inputs=image(3, 16, 16), make=lambda s: ResNet(block, tuple(w // s for w in widths)))


NETS = (
    _resnet("resnet_basic", basic, 32, 32, 64, 64),
    _resnet("resnet_bottleneck", bottleneck, 64, 64, 128, 128),
    _resnet("resnet_option_a", PaddedBlock, 32, 32, 64, 64),
    _resnet("resnext", lambda i, o, s: bottleneck(i, o, s, groups=8), 64, 64, 128),
    _resnet("regnet", lambda i, o, s: bottleneck(i, o, s, groups=o // 32, gated=True), 64, 64, 128),
    _resnet("se_resnet", squeeze_excite, 32, 32, 64),
    Net(name="tied", inputs=image(3, 16, 16), make=lambda s: Tied(32 // s)),
    Net(name="equal_tensors", inputs=image(3, 16, 16), make=lambda s: Chain(32 // s), fresh=True),
)
