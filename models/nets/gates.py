"""Nets whose channels are connected by products: gated units, attention over channels and positions, conditioning."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.nets.catalog import Input, Net, image
from models.nets.residual import conv_bn


class Between(nn.Module):
    """Stem, an inner module that keeps the shape, convolution to `last` channels, pooled head."""

    def __init__(self, width: int, inner: nn.Module, last: int) -> None:
        super().__init__()
        self.stem = conv_bn(3, width, stride=2)
        self.inner = inner
        self.last = conv_bn(width, last)
        self.head = nn.Linear(last, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(F.relu(self.stem(x)))
        return self.head(F.relu(self.last(x)).mean((2, 3)))


class GatedLinearUnit(nn.Module):
    """a · σ(b) for the halves a, b of one convolution: channels c and c + width are removed together."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.both = conv_bn(width, 2 * width)

    def forward(self, x: Tensor) -> Tensor:
        return F.glu(self.both(x), dim=1)


class Ghost(nn.Module):
    """GhostNet: half of the channels are computed from the other half by a depthwise convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.primary = conv_bn(width, width // 2, 1)
        self.cheap = conv_bn(width // 2, width // 2, groups=width // 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.primary(x))
        return torch.cat((x, F.relu(self.cheap(x))), 1)


class ChannelConvolution(nn.Module):
    """ECA-Net: a 1-D convolution along the channel axis, so removing a channel changes its neighbours' gates."""

    def __init__(self) -> None:
        super().__init__()
        self.along = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate = F.adaptive_avg_pool2d(x, 1).squeeze(-1).transpose(1, 2)
        return x * self.along(gate).transpose(1, 2).unsqueeze(-1).sigmoid()


class SpatialGate(nn.Module):
    """CBAM: a gate per channel from mean and maximum over positions, then one per position from those over channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(width, width // 2), nn.ReLU(), nn.Linear(width // 2, width))
        self.places = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.mlp(x.mean((2, 3))) + self.mlp(x.amax((2, 3)))
        x = x * gate.sigmoid()[:, :, None, None]
        pooled = torch.cat((x.mean(1, keepdim=True), x.amax(1, keepdim=True)), 1)
        return x * self.places(pooled).sigmoid()


class NonLocal(nn.Module):
    """Attention between all positions of a map: query, key and value by 1×1 convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Conv2d(width, width // 2, 1) for _ in range(3))
        self.out = nn.Conv2d(width // 2, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        scores = self.query(x).flatten(2).transpose(1, 2) @ self.key(x).flatten(2)
        y = scores.softmax(-1) @ self.value(x).flatten(2).transpose(1, 2)
        return x + self.out(y.transpose(1, 2).reshape(n, -1, height, width))


class MixedKernels(nn.Module):
    """MixNet: an uneven split; each part has its own depthwise kernel; then they are concatenated."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sizes = (width // 2, width // 4, width // 4)
        self.parts = nn.ModuleList(conv_bn(c, c, k, groups=c) for c, k in zip(self.sizes, (3, 5, 7)))

    def forward(self, x: Tensor) -> Tensor:
        parts = zip(self.parts, x.split(self.sizes, 1))
        return F.relu(torch.cat([conv(part) for conv, part in parts], 1))


class SelectiveKernel(nn.Module):
    """SKNet: two stacked branches, weighted per channel by a softmax over the branches, and summed."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.small, self.large = conv_bn(width, width), conv_bn(width, width, 5, groups=4)
        self.squeeze = nn.Linear(width, width // 2)
        self.select = nn.Linear(width // 2, 2 * width)

    def forward(self, x: Tensor) -> Tensor:
        maps = torch.stack((F.relu(self.small(x)), F.relu(self.large(x))), 1)
        gate = self.select(F.relu(self.squeeze(maps.sum(1).mean((2, 3)))))
        gate = gate.view(x.shape[0], 2, -1).softmax(1)
        return (maps * gate[:, :, :, None, None]).sum(1)


class Maxout(nn.Module):
    """The larger of two neighbouring channels, by a reshape and a maximum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, 2 * width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        return self.conv(x).view(n, channels, 2, height, width).amax(2)


class Conditioned(nn.Module):
    """FiLM: a linear layer computes a scale and a shift for each channel from a second input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = conv_bn(3, width)
        self.film = nn.Linear(6, 2 * width)
        self.last = conv_bn(width, width)
        self.head = nn.Linear(width, 10)

    def forward(self, image: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.film(condition).chunk(2, 1)
        x = (1 + scale[:, :, None, None]) * self.stem(image) + shift[:, :, None, None]
        return self.head(F.relu(self.last(F.relu(x))).mean((2, 3)))


def _net(name: str, inner: Callable[[int], nn.Module], width: int = 32) -> Net:
    return Net(name=name, inputs=image(3, 16, 16), make=lambda s: Between(width // s, inner(width // s), width // s))


NETS = (
    _net("glu", GatedLinearUnit),
    _net("ghostnet", Ghost, width=64),
    # The channels in front of the gate are positions of its convolution, which can't be removed.
    Net(name="eca", inputs=image(3, 16, 16), make=lambda s: Between(32, ChannelConvolution(), 32 // s)),
    _net("cbam", SpatialGate),
    _net("nonlocal", NonLocal, width=64),
    _net("mixnet", MixedKernels, width=64),
    _net("selective_kernel", SelectiveKernel),
    _net("maxout", Maxout),
    Net(
        name="film",
        inputs=(*image(3, 16, 16), Input(name="condition", shape=("N", 6))),
        make=lambda s: Conditioned(32 // s),
    ),
)
