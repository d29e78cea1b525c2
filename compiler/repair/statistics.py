"""BatchNormalization that stayed in the graph: its statistics, estimated again from the compressed model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Node, Variable
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import input_value

MEAN, VARIANCE = 3, 4
NEGLIGIBLE = 1e-10
"""Share of the stored variance below which a channel counts as constant."""


@dataclass
class Moments:
    """Sums over pairs of rows [m, C]: x of the compressed model, y of the original at the same positions."""

    x: np.ndarray
    y: np.ndarray
    xx: np.ndarray
    yy: np.ndarray
    xy: np.ndarray
    count: int = 0

    @classmethod
    def zeros(cls, channels: int) -> Moments:
        """No rows yet."""
        x, y, xx, yy, xy = np.zeros((5, channels))
        return cls(x, y, xx, yy, xy)

    def add(self, x: np.ndarray, y: np.ndarray) -> None:
        """Add rows [m, C]."""
        x, y = x.astype(np.float64), y.astype(np.float64)
        self.x += x.sum(axis=0)
        self.y += y.sum(axis=0)
        self.xx += np.square(x).sum(axis=0)
        self.yy += np.square(y).sum(axis=0)
        self.xy += (x * y).sum(axis=0)
        self.count += len(x)

    def error(self, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """Σ (scale·x + shift − y)² of each channel."""
        squares = scale**2 * self.xx + 2 * scale * shift * self.x + self.count * shift**2
        return np.asarray(np.maximum(0.0, squares - 2 * scale * self.xy - 2 * shift * self.y + self.yy))


@dataclass(frozen=True, eq=False)
class Normalization:
    """A BatchNormalization with stored statistics; `source` is what it normalizes."""

    node: Node
    source: Variable

    @classmethod
    def of(cls, node: Node) -> Normalization | str:
        """The normalization that `node` is, or why its statistics can't be estimated."""
        if node.attrs.get("training_mode"):
            return "it normalizes by the statistics of each batch"
        if any(input_value(node, slot) is None for slot in (MEAN, VARIANCE)):
            return "its statistics are computed"
        source = node.inputs[0]
        return cls(node, source) if isinstance(source, Variable) else "its input is constant"

    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """The present mean, and variance plus epsilon."""
        mean, variance = input_value(self.node, MEAN), input_value(self.node, VARIANCE)
        assert mean is not None
        assert variance is not None
        return mean.astype(np.float64), variance.astype(np.float64) + self._epsilon

    def estimated(self, moments: Moments) -> tuple[np.ndarray, np.ndarray]:
        """Mean, and variance plus epsilon, that give the output the mean and spread it had in the original.

        m' = E[x'] − (E[x] − m)·r and s'² = s²·r² with r² = Var[x'] / Var[x]. On the data that the statistics were
        taken from, where E[x] = m, these are the mean and variance of x'; on other data their peculiarities
        cancel. Channels that are constant in either model keep their spread.
        """
        mean, square = self.statistics()
        count = max(1, moments.count)
        now, then = moments.x / count, moments.y / count
        spread_now = np.maximum(0.0, moments.xx / count - now**2)
        spread_then = np.maximum(0.0, moments.yy / count - then**2)
        is_flat = np.minimum(spread_now, spread_then) <= NEGLIGIBLE * square
        ratio = np.where(is_flat, 1.0, spread_now / np.where(is_flat, 1.0, spread_then))
        # The variance is stored without epsilon, and it can't be negative.
        wide = np.maximum(square * ratio, self._epsilon)
        return now - (then - mean) * np.sqrt(wide / square), wide

    def errors(self, moments: Moments, mean: np.ndarray, square: np.ndarray) -> float:
        """Squared error of the values that these statistics normalize, against the original's."""
        before_mean, before_square = self.statistics()
        # ((x' − m')/s' − (x − m)/s)² = (a·x' + b − x)²/s² with a = s/s', b = m − a·m'
        scale = np.sqrt(before_square / square)
        return float(np.sum(moments.error(scale, before_mean - scale * mean) / before_square))

    def spread(self, moments: Moments) -> float:
        """Σ (x − mean x)² / s² over the original's values."""
        _, square = self.statistics()
        return float(np.sum(np.maximum(0.0, moments.yy - moments.y**2 / max(1, moments.count)) / square))

    def store(self, model: Model, mean: np.ndarray, square: np.ndarray) -> None:
        """Write statistics."""
        for slot, values in ((MEAN, mean), (VARIANCE, square - self._epsilon)):
            old = input_value(self.node, slot)
            assert old is not None
            edit.set_weight(model, self.node, slot, values.astype(old.dtype))

    @property
    def _epsilon(self) -> float:
        return float(self.node.attrs.get("epsilon", 1e-5))
