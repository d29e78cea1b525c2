"""Depthwise nets for mobile devices: inverted residuals, hard and smooth activations, channel shuffle."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.nets.catalog import Net, image
from models.nets.residual import SqueezeExcite, conv_bn


class InvertedResidual(nn.Module):
    """1×1 expansion (unless `inner` is `c_in`), depthwise, optional gate, linear 1×1; a shortcut if shapes match."""

    def __init__(
        self, c_in: int, c_out: int, stride: int, act: type[nn.Module], *, inner: int, kernel: int = 3,
        gate: nn.Module | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        expand = [] if inner == c_in else [conv_bn(c_in, inner, 1), act()]
        layers = [*expand, conv_bn(inner, inner, kernel, stride=stride, groups=inner), act()]
        if gate is not None:
            layers.append(gate)
        self.layers = nn.Sequential(*layers, conv_bn(inner, c_out, 1))
        self.residual = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


class MobileNet(nn.Module):
    """Stem, four inverted residuals, 1×1 convolution, pooled head (of two layers when gated)."""

    def __init__(self, shrink: int, act: type[nn.Module], gate: nn.Module | None = None) -> None:
        super().__init__()
        a, b, c = 32 // shrink, 64 // shrink, 128 // shrink
        self.stem = nn.Sequential(conv_bn(3, a, stride=2), act())
        plan = ((a, a, 1), (a, b, 2), (b, b, 1), (b, b, 1))
        self.blocks = nn.Sequential(*(self._block(*p, act, gate) for p in plan))
        self.last = nn.Sequential(conv_bn(b, c, 1), act())
        hidden = [nn.Linear(c, c), act()] if gate is not None else []
        self.head = nn.Sequential(*hidden, nn.Linear(c, 10))

    @staticmethod
    def _block(c_in: int, c_out: int, stride: int, act: type[nn.Module], gate: nn.Module | None) -> InvertedResidual:
        inner = 3 * c_in
        gated = None if gate is None else SqueezeExcite(inner, inner // 4, gate)
        return InvertedResidual(c_in, c_out, stride, act, inner=inner, gate=gated)

    def forward(self, x: Tensor) -> Tensor:
        x = self.last(self.blocks(self.stem(x)))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Channel (g, c) becomes (c, g), with sizes read from the tensor, as in real nets."""
    n, channels, height, width = x.shape
    x = x.view(n, groups, channels // groups, height, width)
    return torch.transpose(x, 1, 2).contiguous().view(n, channels, height, width)


class ShuffleUnit(nn.Module):
    """ShuffleNet v2's unit: half of the channels bypass the convolutions, except with a stride."""

    def __init__(self, channels: int, stride: int, c_in: int | None = None) -> None:
        super().__init__()
        self.stride = stride
        half = channels // 2
        c_in = c_in or half
        self.side = self._depthwise(c_in, half, stride) if stride > 1 else None
        self.main = nn.Sequential(conv_bn(c_in, half, 1), nn.ReLU(), self._depthwise(half, half, stride))

    @staticmethod
    def _depthwise(c_in: int, c_out: int, stride: int) -> nn.Sequential:
        return nn.Sequential(conv_bn(c_in, c_in, stride=stride, groups=c_in), conv_bn(c_in, c_out, 1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        if self.side is not None:
            return channel_shuffle(torch.cat((self.side(x), self.main(x)), 1), 2)
        kept, used = x.chunk(2, dim=1)
        return channel_shuffle(torch.cat((kept, self.main(used)), 1), 2)


class ShuffleNetV2(nn.Module):
    """Two stages, each a striding unit that doubles the channels and two plain units."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_bn(3, width), nn.ReLU())
        units = [ShuffleUnit(c, s) for c in (2 * width, 4 * width) for s in (2, 1, 1)]
        self.units = nn.Sequential(*units)
        self.last = nn.Sequential(conv_bn(4 * width, 4 * width, 1), nn.ReLU())
        self.head = nn.Linear(4 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.last(self.units(self.stem(x))).mean([2, 3]))


class GroupedShuffle(nn.Module):
    """ShuffleNet v1: grouped 1×1, shuffle of four groups, depthwise, grouped 1×1, shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = conv_bn(3, width)
        self.squeeze = conv_bn(width, width, 1, groups=4)
        self.depthwise = conv_bn(width, width, groups=width)
        self.expand = conv_bn(width, width, 1, groups=4)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        y = channel_shuffle(F.relu(self.squeeze(x)), 4)
        x = F.relu(x + self.expand(self.depthwise(y)))
        return self.head(x.mean((2, 3)))


NETS = (
    Net(name="mobilenet_v2", inputs=image(3, 16, 16), make=lambda s: MobileNet(s, nn.ReLU6)),
    Net(name="mobilenet_v3", inputs=image(3, 16, 16), make=lambda s: MobileNet(s, nn.Hardswish, nn.Hardsigmoid())),
    Net(name="efficientnet", inputs=image(3, 16, 16), make=lambda s: MobileNet(s, nn.SiLU, nn.Sigmoid())),
    Net(name="shufflenet_v1", inputs=image(3, 16, 16), make=lambda s: GroupedShuffle(64 // s)),
    Net(name="shufflenet_v2", inputs=image(3, 16, 16), make=lambda s: ShuffleNetV2(32 // s)),
)
