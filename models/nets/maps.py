"""Nets whose output is a map: U-Nets, super resolution, dilated pyramids, and a detector with several outputs."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.nets.catalog import Net, image
from models.nets.residual import conv_bn


def _double(c_in: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(conv_bn(c_in, c_out), nn.ReLU(), conv_bn(c_out, c_out), nn.ReLU())


class UNet(nn.Module):
    """Two levels down and up with concatenated skips; up by ConvTranspose, or by Resize and a 1×1 convolution."""

    def __init__(self, width: int, *, transposed: bool) -> None:
        super().__init__()
        a, b, c = width, 2 * width, 4 * width
        self.down1, self.down2, self.bottom = _double(3, a), _double(a, b), _double(b, c)
        self.up2, self.up1 = self._up(c, b, transposed), self._up(b, a, transposed)
        self.merge2, self.merge1 = _double(2 * b, b), _double(2 * a, a)
        self.head = nn.Conv2d(a, 2, 1)

    @staticmethod
    def _up(c_in: int, c_out: int, transposed: bool) -> nn.Module:
        if transposed:
            return nn.ConvTranspose2d(c_in, c_out, 2, 2)
        scaled = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        return nn.Sequential(scaled, nn.Conv2d(c_in, c_out, 1))

    def forward(self, x: Tensor) -> Tensor:
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        c = self.bottom(F.max_pool2d(b, 2))
        b = self.merge2(torch.cat((self.up2(c), b), 1))
        return self.head(self.merge1(torch.cat((self.up1(b), a), 1)))


class SuperResolution(nn.Module):
    """EDSR: residual blocks without normalization, a long skip, two pixel shuffles."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.body = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1))
            for _ in range(2)
        )
        self.up = nn.Sequential(nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2))
        self.last = nn.Sequential(nn.Conv2d(width, 12, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        x = first = self.first(x)
        for block in self.body:
            x = x + 0.1 * block(x)
        return self.last(self.up(x + first))


class Focus(nn.Module):
    """Pixel unshuffle by strided slices (YOLOv5) and by torch, then its inverse written as reshapes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = conv_bn(12, width)
        self.folded = conv_bn(4 * width, 4 * width)
        self.head = nn.Conv2d(width, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        rows = (x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2])
        x = F.relu(self.stem(torch.cat(rows, 1)))
        x = F.relu(self.folded(F.pixel_unshuffle(x, 2)))
        n, channels, height, width = x.shape
        x = x.reshape(n, 2, 2, channels // 4, height, width).permute(0, 3, 4, 1, 5, 2)
        return self.head(x.reshape(n, channels // 4, 2 * height, 2 * width))


class DilatedPyramid(nn.Module):
    """DeepLab: dilated branches and a pooled branch resized to the map, concatenated and projected."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = conv_bn(3, width, stride=2)
        self.one = conv_bn(width, width, 1)
        self.dilated = nn.ModuleList(nn.Conv2d(width, width, 3, padding=d, dilation=d) for d in (2, 4))
        self.pooled = nn.Conv2d(width, width, 1)
        self.project = conv_bn(4 * width, width, 1)
        self.head = nn.Conv2d(width, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        x = F.relu(self.stem(x))
        pooled = F.relu(self.pooled(F.adaptive_avg_pool2d(x, 1)))
        pooled = F.interpolate(pooled, size=x.shape[-2:], mode="bilinear", align_corners=False)
        x = torch.cat((self.one(x), *(conv(x) for conv in self.dilated), pooled), 1)
        x = self.head(F.relu(self.project(F.relu(x))))
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class CrossStage(nn.Module):
    """YOLOv8's C2f: split, a bottleneck on one half, all parts concatenated."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        half = c_out // 2
        self.enter = nn.Sequential(conv_bn(c_in, c_out, 1), nn.SiLU())
        self.inner = nn.Sequential(conv_bn(half, half), nn.SiLU(), conv_bn(half, half), nn.SiLU())
        self.leave = nn.Sequential(conv_bn(3 * half, c_out, 1), nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.enter(x).chunk(2, 1)
        return self.leave(torch.cat((a, b, b + self.inner(b)), 1))


class Detector(nn.Module):
    """Backbone, pooling pyramid, feature pyramid, and a head whose boxes are expectations over 4 bins.

    Outputs: the raw maps of both levels and (N, 4 + classes, places) detections.
    """

    bins = 4

    def __init__(self, width: int, classes: int = 3) -> None:
        super().__init__()
        a, b = width, 2 * width
        self.stem = nn.Sequential(conv_bn(3, a, stride=2), nn.SiLU(), CrossStage(a, a))
        self.deep = nn.Sequential(conv_bn(a, b, stride=2), nn.SiLU(), CrossStage(b, b))
        self.pyramid = nn.Sequential(conv_bn(4 * b, b, 1), nn.SiLU())
        self.merge = CrossStage(a + b, a)
        self.boxes = nn.ModuleList(self._branch(c, a, 4 * self.bins) for c in (a, b))
        self.scores = nn.ModuleList(self._branch(c, a, classes) for c in (a, b))
        self.classes = classes
        self.register_buffer("expectation", torch.arange(self.bins, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("strides", torch.tensor([2.0] * 64 + [4.0] * 16))

    @staticmethod
    def _branch(c_in: int, width: int, c_out: int) -> nn.Sequential:
        return nn.Sequential(conv_bn(c_in, width), nn.SiLU(), nn.Conv2d(width, c_out, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a = self.stem(x)
        b = self.deep(a)
        pools = [b]
        for _ in range(3):
            pools.append(F.max_pool2d(pools[-1], 3, 1, 1))
        b = self.pyramid(torch.cat(pools, 1))
        a = self.merge(torch.cat((F.interpolate(b, scale_factor=2.0, mode="nearest"), a), 1))
        levels = zip((a, b), self.boxes, self.scores)
        maps = [torch.cat((boxes(m), scores(m)), 1) for m, boxes, scores in levels]
        return maps[0], maps[1], self._decode(maps)

    def _decode(self, maps: list[Tensor]) -> Tensor:
        flat = torch.cat([m.flatten(2) for m in maps], 2)
        boxes, scores = flat.split((4 * self.bins, self.classes), 1)
        n, _, places = boxes.shape
        bins = boxes.view(n, 4, self.bins, places).transpose(1, 2).softmax(1)
        distances = (bins * self.expectation).sum(1)
        return torch.cat((distances * self.strides, scores.sigmoid()), 1)


def _net(name: str, make: Callable[[int], nn.Module], *outputs: str) -> Net:
    return Net(name=name, inputs=image(3, 16, 16), make=make, outputs=outputs or ("map",))


NETS = (
    _net("unet", lambda s: UNet(16 // s, transposed=True)),
    _net("unet_resize", lambda s: UNet(16 // s, transposed=False)),
    _net("pixel_shuffle", lambda s: SuperResolution(32 // s)),
    _net("space_to_depth", lambda s: Focus(32 // s)),
    _net("deeplab", lambda s: DilatedPyramid(32 // s)),
    _net("yolo", lambda s: Detector(32 // s), "map_8", "map_4", "detections"),
)
