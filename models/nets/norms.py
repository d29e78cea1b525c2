"""Nets with various normalizations and activations: group, instance and layer norm, PReLU, 1-D."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.nets.catalog import Net, image

Layer = Callable[[int], nn.Module]
"""Makes a layer from the number of channels."""


class NormNet(nn.Module):
    """Pre-activation residual layers with the normalization `norm(channels)` and the activation `act(channels)`."""

    def __init__(self, width: int, norm: Layer, act: Layer) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.layers = nn.ModuleList(
            nn.Sequential(norm(width), act(width), nn.Conv2d(width, width, 3, padding=1)) for _ in range(2)
        )
        self.down = nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1), norm(2 * width), act(2 * width))
        self.head = nn.Linear(2 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer in self.layers:
            x = x + layer(x)
        return self.head(self.down(x).mean((2, 3)))


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of an NCHW map, via NHWC."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNextBlock(nn.Module):
    """Depthwise 7×7, LayerNorm and an MLP in NHWC, layer scale, shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.expand = nn.Linear(width, 4 * width)
        self.project = nn.Linear(4 * width, width)
        self.layer_scale = nn.Parameter(torch.ones(width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.project(F.gelu(self.expand(y))).permute(0, 3, 1, 2)
        return x + self.layer_scale * y


class ConvNext(nn.Module):
    """Patch stem, two stages of one and two blocks, LayerNorm before the head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 2, 2), ChannelNorm(width))
        self.stage1 = ConvNextBlock(width)
        self.down = nn.Sequential(ChannelNorm(width), nn.Conv2d(width, 2 * width, 2, 2))
        self.stage2 = nn.Sequential(ConvNextBlock(2 * width), ConvNextBlock(2 * width))
        self.head = nn.Sequential(nn.LayerNorm(2 * width), nn.Linear(2 * width, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage2(self.down(self.stage1(self.stem(x))))
        return self.head(x.mean((2, 3)))


class Conv1d(nn.Module):
    """A signal net: strided convolutions, grouped and dilated ones, batch norm, average and maximum over time."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(2, width, 7, 2, 3), nn.BatchNorm1d(width), nn.ReLU(), nn.MaxPool1d(2),
            nn.Conv1d(width, width, 3, padding=2, dilation=2, groups=4), nn.BatchNorm1d(width), nn.LeakyReLU(0.1),
            nn.Conv1d(width, 2 * width, 3, 2, 1), nn.ELU(),
        )  # fmt: skip
        self.head = nn.Linear(4 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(x)
        return self.head(torch.cat((x.mean(2), x.amax(2)), 1))


class Conv3d(nn.Module):
    """A video net: 3-D convolutions, one factorized into space and time."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv3d(3, width, 3, padding=1)
        self.space = nn.Conv3d(width, width, (1, 3, 3), (1, 2, 2), (0, 1, 1))
        self.time = nn.Conv3d(width, width, (3, 1, 1), padding=(1, 0, 0))
        self.norm = nn.BatchNorm3d(width)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.time(F.relu(self.space(F.relu(self.stem(x)))))
        return self.head(F.relu(self.norm(x)).mean((2, 3, 4)))


def _prelu(channels: int) -> nn.Module:
    return nn.PReLU(channels)


def _relu(channels: int) -> nn.Module:
    return nn.ReLU()


NETS = (
    Net(
        name="group_norm",
        inputs=image(3, 16, 16),
        make=lambda s: NormNet(32 // s, lambda c: nn.GroupNorm(4, c), _relu),
    ),
    Net(
        name="instance_norm",
        inputs=image(3, 16, 16),
        make=lambda s: NormNet(32 // s, lambda c: nn.InstanceNorm2d(c, affine=True), _relu),
    ),
    Net(name="prelu", inputs=image(3, 16, 16), make=lambda s: NormNet(32 // s, nn.BatchNorm2d, _prelu)),
    Net(name="convnext", inputs=image(3, 16, 16), make=lambda s: ConvNext(32 // s)),
    Net(name="conv1d", inputs=image(2, 64), make=lambda s: Conv1d(32 // s)),
    Net(name="conv3d", inputs=image(3, 4, 16, 16), make=lambda s: Conv3d(32 // s)),
)
