"""Bits and symbols of `.ocz` files: the range decoder, and the models of the notes that learn with every bit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable

STATE = (1 << 64) - 1
PRECISION = 24


class RangeDecoder:
    """Words of 32 bits, a state of 64, probabilities of 24. Past its end the data continue with zeros."""

    def __init__(self, data: bytes) -> None:
        data += bytes(-len(data) % 4)
        self._words = iter([int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)])
        self._low, self._range = 0, STATE
        self._point = self._word() << 32 | self._word()

    def _word(self) -> int:
        return next(self._words, 0)

    def symbol(self, starts: list[int]) -> int:
        """The next symbol; symbol i has the share [starts[i], starts[i + 1]) of 2²⁴, the last one all that is left."""
        scale = self._range >> PRECISION
        at = ((self._point - self._low) & STATE) // scale
        found = len(starts) - 1
        while starts[found] > at:
            found -= 1
        end = starts[found + 1] if found + 1 < len(starts) else 1 << PRECISION
        self._low = (self._low + scale * starts[found]) & STATE
        self._range = scale * (end - starts[found])
        if self._range < 1 << 32:
            self._low = self._low << 32 & STATE
            self._range <<= 32
            self._point = (self._point << 32 | self._word()) & STATE
        return found


def shares(parts: list[int]) -> list[int]:
    """Where each symbol's share begins, for frequencies that add up to a power of two."""
    total, free, found, before = sum(parts), (1 << PRECISION) - len(parts), [], 0
    for place, part in enumerate(parts):
        found.append(before * free // total + place)
        before += part
    return found


KNOTS = (
    *(1, 2, 3, 6, 10, 16, 27, 45, 73, 120, 194, 310, 488, 747, 1101, 1546, 2047, 2549, 2994, 3348, 3607),
    *(3785, 3901, 3975, 4022, 4050, 4068, 4079, 4085, 4089, 4092, 4093, 4094),
)
UNKNOWN = 32768 << 8
RATE = [65536 // (seen + 3) for seen in range(256)]


def _squash(logit: int) -> int:
    knot, rest = (logit + 2048) >> 7, logit & 127
    return (KNOTS[knot] * (128 - rest) + KNOTS[knot + 1] * rest + 64) >> 7


SQUASH = [_squash(logit) for logit in range(-2047, 2048)]
STRETCH = [next((i - 2047 for i, chance in enumerate(SQUASH) if chance >= x), 2047) for x in range(4096)]


def learned(state: int, bit: int) -> int:
    """A state after a bit: the chance of a 1 in 65536ths, and in the low 8 bits how many bits it has seen."""
    chance, seen = state >> 8, state & 255
    return (chance + ((bit * 65535 - chance) * RATE[seen] >> 16)) << 8 | min(seen + 1, 255)


class Mixer:
    """Predicts a bit from five contexts, with weights that learn."""

    def __init__(self, *weights: float) -> None:
        self._weights = [int(65536 * weight) for weight in weights]
        self._states: dict[int, int] = {}

    def bit(self, notes: Notes, *contexts: int) -> int:
        """Read a bit; the first context is the general one."""
        general = self._states.get(contexts[0], UNKNOWN)
        fresh = general & ~255
        states = [general, *(self._states.get(context, fresh) for context in contexts[1:])]
        says = [STRETCH[state >> 12] for state in states]
        logit = sum(w * s for w, s in zip(self._weights, says, strict=True)) >> 16
        chance = SQUASH[max(-2047, min(2047, logit)) + 2047]
        bit = notes.coded(chance)
        error = ((bit << 12) - chance) * 5
        self._weights = [w + (error * s >> 13) for w, s in zip(self._weights, says, strict=True)]
        for context, state in zip(contexts, states, strict=True):
            self._states[context] = learned(state, bit)
        return bit


class Notes:
    """The notes: everything that is coded bit by bit, with the models that learn along the way."""

    def __init__(self, data: bytes) -> None:
        self._decoder = RangeDecoder(data)
        self._models: dict[Hashable, dict[int, int]] = defaultdict(dict)
        self.scalars = Mixer(0.3, 0.2, 0.3, 0.2, 0.0)
        self.live_rows: dict[int, list[int]] = {}

    def coded(self, chance: int) -> int:
        """A bit that is 1 with probability chance / 4096."""
        return self._decoder.symbol(shares([4096 - chance, chance]))

    def even(self, count: int) -> int:
        """Read a number of `count` equally likely bits."""
        found = 0
        for _ in range(count):
            found = found << 1 | self.coded(2048)
        return found

    def adaptive(self, context: Hashable, key: int) -> int:
        """Read a bit with the state of one key of a context."""
        state = self._models[context].get(key, UNKNOWN)
        bit = self.coded(state >> 12 or 1)
        self._models[context][key] = learned(state, bit)
        return bit

    def flag(self, context: str) -> bool:
        """Read a flag."""
        return self.adaptive(context, 0) == 1

    def choice(self, context: str, count: int) -> int:
        """Read one of `count` alternatives."""
        found = 0
        while found < count - 1 and self.adaptive(context, found):
            found += 1
        return found

    def number(self, context: Hashable) -> int:
        """Read a number from 0 up."""
        length = 0
        while length < 64 and self.adaptive(context, length):
            length += 1
        found = 1
        for place in range(length - 1, -1, -1):
            near_top = length - place <= 2
            bit = self.adaptive(context, length << 3 | found | 1024) if near_top else self.coded(2048)
            found = found << 1 | bit
        return found - 1

    def tree(self, context: Hashable, bits: int) -> int:
        """Read a number of that many bits, each in the context of those before it."""
        node = 1
        for _ in range(bits):
            node = node << 1 | self.adaptive(context, node)
        return node - (1 << bits)

    def levels(self, context: str, count: int) -> list[int]:
        """Read numbers below 16, each in the context of the one before it."""
        found = [0]
        for _ in range(count):
            found.append(self.tree((context, found[-1]), 4))
        return found[1:]
