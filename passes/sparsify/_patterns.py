"""The units in which weights become zero: patterns on a weight as matrices [groups, K inputs, M outputs]."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.errors import UsageError

UNSTRUCTURED, SHAPE = "unstructured", "shape"
LARGEST = 4096
KNOWN = "unstructured, shape, NofM such as 2of4, KxL such as 8x4"


@dataclass(frozen=True)
class Pattern:
    """Blocks of `outputs` × `inputs` (outputs 0: all), or with `of` > 0 at most `keep` of `of` consecutive inputs.

    The inputs of a convolution are `channels` per tap of the kernel, one tap after another; neither blocks nor runs
    of inputs cross from one tap to the next. At the edges blocks are smaller.
    """

    outputs: int = 1
    inputs: int = 1
    keep: int = 0
    of: int = 0

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """The pattern that a word names. Raises UsageError."""
        if text in (UNSTRUCTURED, SHAPE):
            return cls(outputs=1 if text == UNSTRUCTURED else 0)
        found = re.fullmatch(r"([0-9]{1,4})(of|x)([0-9]{1,4})", text)
        first, kind, second = found.groups() if found else ("0", "", "0")
        low, high = int(first), int(second)
        if kind == "x" and 0 < low <= LARGEST and 0 < high <= LARGEST:
            return cls(outputs=low, inputs=high)
        if kind == "of" and 0 < low < high <= LARGEST:
            return cls(keep=low, of=high)
        raise UsageError(f"sparsify-weights: unknown pattern '{text}'; write {KNOWN}")

    def obstacle(self, channels: int) -> str | None:
        """Why a weight with `channels` input channels can't have this pattern."""
        if self.of and channels % self.of:
            return f"its {channels} inputs are not a multiple of {self.of}"
        return None

    def kept(self, scores: np.ndarray, alive: np.ndarray, channels: int, count: int) -> np.ndarray:
        """The mask [groups, K, M] of the weights to keep: among `alive`, at most about `count` elements of high score.

        The scores of a block are summed. At least one block stays.
        """
        scores = np.where(alive, scores, 0.0)
        return self._of(scores, alive, channels, count) if self.of else self._blocks(scores, alive, channels, count)

    def _blocks(self, scores: np.ndarray, alive: np.ndarray, channels: int, count: int) -> np.ndarray:
        groups, unknowns, width = scores.shape
        block = self.inputs, self.outputs or width
        sums, sizes = (_summed(array, channels, block) for array in (scores, alive.astype(np.float64)))
        means = np.where(sizes > 0, sums / np.maximum(sizes, 1), -1.0).reshape(-1)
        order = np.argsort(-means, kind="stable")
        fits = int(np.searchsorted(np.cumsum(sizes.reshape(-1)[order]), count, side="right"))
        chosen = np.zeros(means.shape, bool)
        chosen[order[: max(1, fits)]] = True
        spread = np.repeat(np.repeat(chosen.reshape(sizes.shape), block[0], 2), block[1], 3)
        whole = spread[:, :, :channels, :width].reshape(groups, unknowns, width)
        return np.asarray(whole & alive)

    def _of(self, scores: np.ndarray, alive: np.ndarray, channels: int, count: int) -> np.ndarray:
        """Keep the same number in each run: as few as `count` asks for, but at least `keep`."""
        keep = max(self.keep, int(count * self.of // max(1, scores.size)))
        runs = np.where(alive, scores, -1.0).reshape(len(scores), -1, self.of, scores.shape[2])
        order = np.argsort(-runs, axis=2, kind="stable")
        ranks = np.argsort(order, axis=2, kind="stable")
        return np.asarray((ranks < keep).reshape(scores.shape) & alive)


def _summed(values: np.ndarray, channels: int, block: tuple[int, int]) -> np.ndarray:
    """Sums over blocks of a matrix [groups, taps · channels, M]: [groups, taps, blocks of inputs, of outputs]."""
    if block == (1, 1):
        return values.reshape(len(values), -1, channels, values.shape[2])
    split = values.reshape(len(values), -1, channels, values.shape[2])
    short = [-size % part for size, part in zip(split.shape[2:], block)]
    filled = np.pad(split, ((0, 0), (0, 0), (0, short[0]), (0, short[1])))
    groups, taps, rows, columns = filled.shape
    parted = filled.reshape(groups, taps, rows // block[0], block[0], columns // block[1], block[1])
    return np.asarray(parted.sum(axis=(3, 5)))
