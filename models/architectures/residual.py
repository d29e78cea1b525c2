"""ResNet (He et al., 2015), ResNeXt (Xie et al., 2016) and RegNet (Radosavovic et al., 2020)."""

from __future__ import annotations

from torch import nn

from models.architectures.catalog import Architecture, head, named
from models.nets.catalog import image
from models.nets.residual import Block, BlockMaker, basic, bottleneck, conv_bn


def stages(
    block: BlockMaker, c_in: int, widths: tuple[int, ...], depths: tuple[int, ...], first: int = 1
) -> nn.Sequential:
    """Stages of `depths[i]` blocks of `widths[i]` channels; a stage's first block has stride 2, in stage 1 `first`."""
    made = nn.Sequential()
    for i, (width, depth) in enumerate(zip(widths, depths)):
        for j in range(depth):
            stride = 1 if j else first if i == 0 else 2
            made.append(block(c_in, width, stride))
            c_in = width
    return made


def _resnet(block: BlockMaker, widths: tuple[int, ...], depths: tuple[int, ...]) -> nn.Module:
    stem = nn.Sequential(conv_bn(3, 64, 7, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    return named(stem=stem, stages=stages(block, 64, widths, depths), head=head(widths[-1]))


def resnet18() -> nn.Module:
    return _resnet(basic, (64, 128, 256, 512), (2, 2, 2, 2))


def resnext50() -> nn.Module:
    """ResNeXt-50 (32×4d): 32 groups of 4 channels in the first stage."""
    return _resnet(lambda i, o, s: bottleneck(i, o, s, groups=32), (256, 512, 1024, 2048), (3, 4, 6, 3))


def regnet_x_400mf() -> nn.Module:
    """RegNetX-400MF: bottlenecks as wide inside as outside, in groups of 16 channels."""

    def block(c_in: int, c_out: int, stride: int) -> Block:
        return bottleneck(c_in, c_out, stride, groups=c_out // 16, inner=c_out)

    stem = nn.Sequential(conv_bn(3, 32, stride=2), nn.ReLU())
    return named(stem=stem, stages=stages(block, 32, (32, 64, 160, 400), (1, 2, 7, 12), first=2), head=head(400))


ARCHITECTURES = (
    Architecture(name="resnet18", inputs=image(3, 224, 224), make=resnet18, parameters=11_689_512),
    Architecture(name="resnext50", inputs=image(3, 224, 224), make=resnext50, parameters=25_028_904),
    Architecture(name="regnet_x_400mf", inputs=image(3, 224, 224), make=regnet_x_400mf, parameters=5_495_976),
)
