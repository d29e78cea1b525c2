"""Nets that branch and concatenate (DenseNet, SqueezeNet, Inception), and one that flattens (VGG)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.nets.catalog import Net, image
from models.nets.residual import conv_bn


class DenseLayer(nn.Module):
    """BN, ReLU, 1×1, BN, ReLU, 3×3; the result is appended to the input's channels."""

    def __init__(self, c_in: int, growth: int, inner: int | None = None) -> None:
        super().__init__()
        inner = inner or 2 * growth
        self.norm1 = nn.BatchNorm2d(c_in)
        self.conv1 = nn.Conv2d(c_in, inner, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.norm1(x)))
        return torch.cat((x, self.conv2(F.relu(self.norm2(y)))), 1)


class DenseNet(nn.Module):
    """Two dense blocks of three layers with a transition between them; BN before the head."""

    def __init__(self, growth: int) -> None:
        super().__init__()
        wide = 5 * growth
        self.stem = nn.Conv2d(3, 2 * growth, 3, padding=1, bias=False)
        self.block1 = nn.Sequential(*(DenseLayer((2 + i) * growth, growth) for i in range(3)))
        self.norm = nn.BatchNorm2d(wide)
        self.transition = nn.Conv2d(wide, 2 * growth, 1, bias=False)
        self.block2 = nn.Sequential(*(DenseLayer((2 + i) * growth, growth) for i in range(3)))
        self.last = nn.BatchNorm2d(wide)
        self.head = nn.Linear(wide, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.transition(F.relu(self.norm(self.block1(self.stem(x)))))
        x = F.relu(self.last(self.block2(F.avg_pool2d(x, 2))))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Fire(nn.Module):
    """1×1 squeeze, then 1×1 and 3×3 expansions side by side."""

    def __init__(self, c_in: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(c_in, squeezed, 1)
        self.expand1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return torch.cat((F.relu(self.expand1(x)), F.relu(self.expand3(x))), 1)


class SqueezeNet(nn.Module):
    """No normalization; the classes are the channels of the last convolution, pooled."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 2 * width, 3, 2, 1)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.fires = nn.Sequential(Fire(2 * width, width, 2 * width), Fire(4 * width, width, 4 * width))
        self.classes = nn.Conv2d(8 * width, 10, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fires(self.pool(F.relu(self.stem(x))))
        return F.adaptive_avg_pool2d(self.classes(x), 1).flatten(1)


class InceptionBlock(nn.Module):
    """Four branches of different widths: 1×1, 3×3, factorized 1×3–3×1, pool–1×1."""

    def __init__(self, c_in: int, width: int) -> None:
        super().__init__()
        self.one = conv_bn(c_in, width, 1)
        self.three = nn.Sequential(conv_bn(c_in, width, 1), nn.ReLU(), conv_bn(width, 2 * width))
        self.row = nn.Conv2d(c_in, width, (1, 3), padding=(0, 1))
        self.column = nn.Conv2d(width, width, (3, 1), padding=(1, 0))
        self.pooled = conv_bn(c_in, width // 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pooled(F.avg_pool2d(x, 3, 1, 1))
        parts = (self.one(x), self.three(x), self.column(F.relu(self.row(x))), pooled)
        return F.relu(torch.cat(parts, 1))


class Inception(nn.Module):
    """Stem, two inception blocks with a max pool between them, head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = conv_bn(3, width)
        self.block1 = InceptionBlock(width, width)
        out = 4 * width + width // 2
        self.block2 = InceptionBlock(out, width)
        self.head = nn.Linear(out, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.block1(F.relu(self.stem(x))), 2)
        return self.head(self.block2(x).mean((2, 3)))


class Vgg(nn.Module):
    """Convolutions and pools, then flatten and three linear layers: each channel owns 16 columns of the first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv_bn(3, width), nn.ReLU(), nn.MaxPool2d(2), conv_bn(width, 2 * width), nn.ReLU(), nn.MaxPool2d(2)
        )
        hidden = 4 * width
        self.classifier = nn.Sequential(
            nn.Linear(2 * width * 16, hidden), nn.ReLU(), nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, 10),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))


NETS = (
    Net(name="densenet", inputs=image(3, 16, 16), make=lambda s: DenseNet(32 // s)),
    Net(name="squeezenet", inputs=image(3, 32, 32), make=lambda s: SqueezeNet(32 // s)),
    Net(name="inception", inputs=image(3, 16, 16), make=lambda s: Inception(32 // s)),
    Net(name="vgg", inputs=image(3, 16, 16), make=lambda s: Vgg(32 // s)),
)
