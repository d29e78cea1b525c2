"""Recurrent nets: LSTM and GRU, uni- and bidirectional, stacked, after convolutions, and over embeddings."""

from __future__ import annotations

from torch import Tensor, nn

from models.nets.catalog import Input, Net

SIGNAL = (Input(name="signal", shape=("N", "T", 16)),)
TOKENS = (Input(name="tokens", shape=("N", "T"), high=100),)


class Recurrent(nn.Module):
    """A linear layer, `cell` (nn.LSTM or nn.GRU), a linear layer on the last step."""

    def __init__(self, cell: type[nn.RNNBase], width: int, *, layers: int = 1, both: bool = False) -> None:
        super().__init__()
        self.enter = nn.Linear(16, width)
        self.cell = cell(width, width, layers, batch_first=True, bidirectional=both)
        self.head = nn.Linear(2 * width if both else width, 10)

    def forward(self, signal: Tensor) -> Tensor:
        y, _ = self.cell(self.enter(signal).relu())
        return self.head(y[:, -1])


class TextClassifier(nn.Module):
    """Embedding, bidirectional LSTM, maximum over time, two linear layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(100, width)
        self.cell = nn.LSTM(width, width, batch_first=True, bidirectional=True)
        self.hidden = nn.Linear(2 * width, width)
        self.head = nn.Linear(width, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        y, _ = self.cell(self.embed(tokens))
        return self.head(self.hidden(y.amax(1)).relu())


class Recognizer(nn.Module):
    """CRNN: convolutions over a text line, columns as time steps, bidirectional GRU, classes per step."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d((2, 1)),
        )  # fmt: skip
        self.cell = nn.GRU(2 * width, width, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * width, 12)

    def forward(self, image: Tensor) -> Tensor:
        x = self.features(image)
        y, _ = self.cell(x.permute(0, 3, 1, 2).flatten(2))
        return self.head(y).log_softmax(-1)


def _net(name: str, cell: type[nn.RNNBase], layers: int = 1, both: bool = False) -> Net:
    return Net(name=name, inputs=SIGNAL, make=lambda s: Recurrent(cell, 32 // s, layers=layers, both=both))


NETS = (
    _net("lstm", nn.LSTM),
    _net("gru", nn.GRU),
    _net("bilstm", nn.LSTM, layers=2, both=True),
    _net("bigru", nn.GRU, layers=2, both=True),
    Net(name="text_lstm", inputs=TOKENS, make=lambda s: TextClassifier(32 // s)),
    Net(
        name="crnn",
        inputs=(Input(name="image", shape=("N", 1, 8, 32)),),
        make=lambda s: Recognizer(32 // s),
        outputs=("steps",),
    ),
)
