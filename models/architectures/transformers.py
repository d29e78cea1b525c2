"""Vision transformers, plain (Dosovitskiy et al., 2020) and windowed (Liu et al., 2021), and ConvNeXt (2022)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.architectures.catalog import CLASSES, Architecture, named, pooled
from models.nets.attention import FusedAttention, Layer, PatchMerging, VisionTransformer, WindowAttention
from models.nets.catalog import image
from models.nets.norms import ChannelNorm, ConvNextBlock

WINDOW = 7


def convnext_tiny() -> nn.Module:
    width = 96
    stem = nn.Sequential(nn.Conv2d(3, width, 4, 4), ChannelNorm(width))
    stages = nn.Sequential()
    for depth in (3, 3, 9, 3):
        if len(stages):
            stages.append(nn.Sequential(ChannelNorm(width), nn.Conv2d(width, 2 * width, 2, 2)))
            width *= 2
        stages.append(nn.Sequential(*(ConvNextBlock(width) for _ in range(depth))))
    return named(stem=stem, stages=stages, pool=pooled(), norm=nn.LayerNorm(width), head=nn.Linear(width, CLASSES))


def vit_small() -> nn.Module:
    """Patches of 16×16, 12 layers, 6 heads of 64."""
    return VisionTransformer(384, patch=16, patches=14 * 14, depth=12, head=64, classes=CLASSES)


class TableAttention(FusedAttention):
    """Fused attention in a window, with a bias looked up by the relative position of two tokens."""

    def __init__(self, width: int, head: int) -> None:
        super().__init__(width, head=head)
        self.tokens = WINDOW**2
        self.table = nn.Parameter(torch.zeros((2 * WINDOW - 1) ** 2, self.heads))
        places = torch.stack(torch.meshgrid(torch.arange(WINDOW), torch.arange(WINDOW), indexing="ij")).flatten(1)
        apart = places[:, :, None] - places[:, None, :] + WINDOW - 1
        self.register_buffer("index", (apart[0] * (2 * WINDOW - 1) + apart[1]).flatten())

    def added(self) -> Tensor:
        return self.table[self.index].view(self.tokens, self.tokens, -1).permute(2, 0, 1)


class ChannelsLast(nn.Module):
    """NCHW to NHWC."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1)


class Mean(nn.Module):
    """The mean over an NHWC map."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2))


def swin(depths: tuple[int, ...]) -> nn.Module:
    """Swin: windows of 7×7, shifted in every other layer (unless the map is one window), heads of 32."""
    width, size = 96, 56
    patches = nn.Sequential(nn.Conv2d(3, width, 4, 4), ChannelsLast(), nn.LayerNorm(width))
    stages = nn.Sequential()
    for depth in depths:
        if len(stages):
            stages.append(PatchMerging(width))
            width, size = 2 * width, size // 2
        for i in range(depth):
            shifted = i % 2 == 1 and size > WINDOW
            inner = TableAttention(width, 32)
            stages.append(Layer(WindowAttention(width, size, shifted=shifted, side=WINDOW, attention=inner), width))
    return named(patches=patches, stages=stages, norm=nn.LayerNorm(width), mean=Mean(), head=nn.Linear(width, CLASSES))


ARCHITECTURES = (
    Architecture(name="convnext_tiny", inputs=image(3, 224, 224), make=convnext_tiny, parameters=28_589_128),
    Architecture(name="vit_small", inputs=image(3, 224, 224), make=vit_small, parameters=22_050_664),
    Architecture(name="swin_tiny", inputs=image(3, 224, 224), make=lambda: swin((2, 2, 6, 2)), parameters=28_288_354),
    Architecture(name="swin_small", inputs=image(3, 224, 224), make=lambda: swin((2, 2, 18, 2)), parameters=49_606_258),
)
