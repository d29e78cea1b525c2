"""Attention nets: encoder, decoder, vision transformer, shifted windows, PyTorch's own modules."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.nets.catalog import Input, Net, image

TOKENS = (Input(name="tokens", shape=("N", "T"), high=100),)
HEAD = 8
"""Width of a head: shrinking removes whole heads."""


class Attention(nn.Module):
    """Multi-head self-attention, written out with three projections; `causal` masks the future."""

    def __init__(self, width: int, *, causal: bool = False) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.heads = width // HEAD
        self.causal = causal

    def _split(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], self.heads, HEAD).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self._split(self.query(x)), self._split(self.key(x)), self._split(self.value(x))
        scores = q @ k.transpose(-2, -1) / math.sqrt(HEAD)
        if self.causal:
            future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
            scores = scores.masked_fill(future, -1e9)
        y = (scores.softmax(-1) @ v).transpose(1, 2)
        return self.out(y.reshape(x.shape[0], x.shape[1], -1))


class FusedAttention(nn.Module):
    """One projection for query, key and value, split by Reshape, Transpose and Gather (as in timm).

    Optional: `bias` (heads, tokens, tokens) is added to the scores, `mask` (windows, tokens, tokens) to the scores
    of each window.
    """

    def __init__(self, width: int, tokens: int = 0, head: int = HEAD) -> None:
        super().__init__()
        self.head = head
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.heads = width // head
        self.bias = nn.Parameter(torch.zeros(self.heads, tokens, tokens)) if tokens else None

    def added(self) -> Tensor | None:
        return self.bias

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        n, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(n, tokens, 3, self.heads, self.head).permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q * self.head**-0.5) @ k.transpose(-2, -1)
        bias = self.added()
        if bias is not None:
            scores = scores + bias
        if mask is not None:
            scores = scores.view(-1, mask.shape[0], self.heads, tokens, tokens) + mask[:, None]
            scores = scores.view(-1, self.heads, tokens, tokens)
        y = scores.softmax(-1) @ v
        return self.out(y.transpose(1, 2).reshape(n, tokens, width))


class Layer(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)) (`before`), or the norms after the sums."""

    def __init__(self, attention: nn.Module, width: int, *, before: bool = True) -> None:
        super().__init__()
        self.attention = attention
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.before = before

    def forward(self, x: Tensor) -> Tensor:
        if self.before:
            x = x + self.attention(self.norm1(x))
            return x + self.mlp(self.norm2(x))
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.mlp(x))


class Encoder(nn.Module):
    """A small BERT: embeddings of tokens and positions, layers with norms after the sums, mean, head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(100, width)
        self.position = nn.Embedding(32, width)
        self.layers = nn.Sequential(*(Layer(Attention(width), width, before=False) for _ in range(2)))
        self.head = nn.Linear(width, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        places = torch.arange(tokens.shape[1])
        x = self.embed(tokens) + self.position(places)
        return self.head(self.layers(x).mean(1))


class Decoder(nn.Module):
    """A small GPT: causal layers, and an output projection tied to the embedding table."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(100, width)
        self.layers = nn.Sequential(*(Layer(Attention(width, causal=True), width) for _ in range(2)))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        return F.linear(self.norm(self.layers(self.embed(tokens))), self.embed.weight)


class Builtin(nn.Module):
    """PyTorch's own nn.MultiheadAttention between linear layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = nn.Linear(16, width)
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, width // HEAD, batch_first=True)
        self.head = nn.Linear(width, 4)

    def forward(self, signal: Tensor) -> Tensor:
        x = self.enter(signal)
        y = self.norm(x)
        y, _ = self.attention(y, y, y, need_weights=False)
        return self.head((x + y).mean(1))


class VisionTransformer(nn.Module):
    """Patches by a strided convolution, a class token, positions, `depth` layers, norm, head."""

    def __init__(
        self, width: int, *, patch: int = 4, patches: int = 16, depth: int = 2, head: int = HEAD, classes: int = 10
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.zeros(1, patches + 1, width))
        self.layers = nn.Sequential(*(Layer(FusedAttention(width, head=head), width) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), 1) + self.position
        return self.head(self.norm(self.layers(x))[:, 0])


class WindowAttention(nn.Module):
    """Attention inside square windows of an NHWC map; `shifted`: the map is first rolled by half a window."""

    def __init__(
        self, width: int, size: int, *, shifted: bool, side: int = 4, attention: FusedAttention | None = None
    ) -> None:
        super().__init__()
        self.side = side
        self.attention = attention or FusedAttention(width, side**2)
        self.shift = self.side // 2 if shifted else 0
        self.register_buffer("mask", self._mask(size) if shifted else None)

    def _mask(self, size: int) -> Tensor:
        region = torch.zeros(size, size)
        for i, rows in enumerate((slice(-self.side), slice(-self.side, -self.shift), slice(-self.shift, None))):
            for j, columns in enumerate((slice(-self.side), slice(-self.side, -self.shift), slice(-self.shift, None))):
                region[rows, columns] = 3 * i + j
        count = size // self.side
        region = region.view(count, self.side, count, self.side).transpose(1, 2).reshape(count**2, -1)
        return (region[:, None] != region[:, :, None]) * -100.0

    def forward(self, x: Tensor) -> Tensor:
        n, height, width, channels = x.shape
        side, rows, columns = self.side, height // self.side, width // self.side
        if self.shift:
            x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
        x = x.view(n, rows, side, columns, side, channels).permute(0, 1, 3, 2, 4, 5)
        x = self.attention(x.reshape(n * rows * columns, side * side, channels), self.mask)
        x = x.view(n, rows, columns, side, side, channels).permute(0, 1, 3, 2, 4, 5)
        x = x.reshape(n, height, width, channels)
        return torch.roll(x, (self.shift, self.shift), (1, 2)) if self.shift else x


class PatchMerging(nn.Module):
    """Each 2×2 patch of an NHWC map becomes one position with twice the channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduce = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        parts = (x[:, ::2, ::2], x[:, 1::2, ::2], x[:, ::2, 1::2], x[:, 1::2, 1::2])
        return self.reduce(self.norm(torch.cat(parts, -1)))


class Swin(nn.Module):
    """Patches, a plain and a shifted layer, patch merging, a plain layer, norm, head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 2, 2)
        self.norm = nn.LayerNorm(width)
        first, wide = (WindowAttention(width, 8, shifted=s) for s in (False, True)), 2 * width
        self.stage1 = nn.Sequential(*(Layer(attention, width) for attention in first))
        self.merge = PatchMerging(width)
        self.stage2 = Layer(WindowAttention(wide, 4, shifted=False), wide)
        self.last = nn.LayerNorm(wide)
        self.head = nn.Linear(wide, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.patches(x).permute(0, 2, 3, 1))
        x = self.stage2(self.merge(self.stage1(x)))
        return self.head(self.last(x).mean((1, 2)))


NETS = (
    Net(name="transformer", inputs=TOKENS, make=lambda s: Encoder(32 // s)),
    Net(name="decoder", inputs=TOKENS, make=lambda s: Decoder(32 // s)),
    Net(
        name="multihead",
        inputs=(Input(name="signal", shape=("N", "T", 16)),),
        make=lambda s: Builtin(32 // s),
    ),
    Net(name="vit", inputs=image(3, 16, 16), make=lambda s: VisionTransformer(32 // s)),
    Net(name="swin", inputs=image(3, 16, 16), make=lambda s: Swin(32 // s)),
)
