"""Adaptive binary arithmetic coding for small data: each bit is coded with a probability predicted from earlier bits.

The range coder is the library constriction's; this module computes the probabilities. A model is written once and
runs in both directions: an Encoder's `bit` takes a bit and returns it, a Decoder's ignores its argument and returns
the bit from the file.

Reader and writer must compute the same probabilities on every machine, so everything is integer: probabilities in
units of 1/4096, logits in 1/256, weights in 1/65536. The range coder gets multiples of 1/4096 as float64 and only
multiplies them by integers below 2²⁴ and truncates, which is exact, so rounding can't differ.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable
from functools import cache
from typing import Any, Protocol

import constriction
import numpy as np

from onnx_compress.compiler.errors import ModelError

SCALE = 4096
"""Probabilities are integers in units of 1/SCALE."""
_EVEN = SCALE // 2
WORD = np.dtype("<u4")
"""The unit in which a range coder reads and writes."""


class Coder(Protocol):
    """An encoder or a decoder."""

    def bit(self, chance: int, bit: int) -> int:
        """Code `bit`, which is 1 with probability `chance` / 4096, and return it."""


class Encoder:
    """Collects bits and their probabilities; `getvalue` codes them."""

    def __init__(self) -> None:
        self.bits: list[int] = []
        self.chances: list[int] = []

    def bit(self, chance: int, bit: int) -> int:
        """Add a bit."""
        self.bits.append(bit)
        self.chances.append(chance)
        return bit

    def extend(self, other: Encoder) -> None:
        """Append all bits of another encoder, with their probabilities."""
        self.bits += other.bits
        self.chances += other.chances

    def cost(self) -> float:
        """The ideal code length of all bits so far, in bytes."""
        bits, chances = np.array(self.bits, np.int64), np.array(self.chances, np.int64)
        return float(-np.log2(np.where(bits, chances, SCALE - chances) / SCALE).sum() / 8)

    def getvalue(self) -> bytes:
        """The coded bytes without trailing zeros, which a Decoder assumes."""
        coder = constriction.stream.queue.RangeEncoder()
        family = constriction.stream.model.Bernoulli(perfect=False)
        if self.bits:
            coder.encode(np.array(self.bits, np.int32), family, np.array(self.chances, np.float64) / SCALE)
        words: np.ndarray = coder.get_compressed()
        return words.astype(WORD).tobytes().rstrip(b"\0")


class Decoder:
    """Returns the bits of an Encoder. Raises ModelError after `limit` bits: no file may take unbounded time."""

    def __init__(self, data: bytes, limit: int) -> None:
        padded = data + bytes(-len(data) % WORD.itemsize + 2 * WORD.itemsize)
        self._decode = constriction.stream.queue.RangeDecoder(np.frombuffer(padded, WORD).astype(np.uint32)).decode
        self._models = _bernoulli()
        self._left = limit

    def bit(self, chance: int, bit: int) -> int:
        """The next bit of the file; the argument `bit` is ignored."""
        self._left -= 1
        if self._left < 0:
            raise ModelError("it declares more than its bytes can hold: the file is damaged")
        try:
            return int(self._decode(self._models[chance]))
        except (AssertionError, ValueError):
            raise ModelError("the notes in it can't be decoded: the file is damaged") from None


@cache
def _bernoulli() -> list[Any]:
    model = constriction.stream.model.Bernoulli
    return [None, *(model(chance / SCALE, perfect=False) for chance in range(1, SCALE))]


# Mixing of predictions as in PAQ and lpaq (Mahoney): squash is the logistic function, stretch its inverse.
_KNOTS = (
    *(1, 2, 3, 6, 10, 16, 27, 45, 73, 120, 194, 310, 488, 747, 1101, 1546, 2047, 2549, 2994, 3348, 3607),
    *(3785, 3901, 3975, 4022, 4050, 4068, 4079, 4085, 4089, 4092, 4093, 4094),
)
"""4096 / (1 + exp(−x)) at x = −8, −7.5, … 8."""
_MOST = 2047


def _squashed(logit: int) -> int:
    knot, rest = (logit + _MOST + 1) >> 7, logit & 127
    return (_KNOTS[knot] * (128 - rest) + _KNOTS[knot + 1] * rest + 64) >> 7


_SQUASH = [_squashed(logit) for logit in range(-_MOST, _MOST + 1)]


def _stretched() -> list[int]:
    table: list[int] = []
    for logit, chance in enumerate(_SQUASH, -_MOST):
        table += [logit] * (chance + 1 - len(table))
    return table + [_MOST] * (SCALE - len(table))


_STRETCH = _stretched()
_PRIOR = 3
"""Weight of a new context's initial probability, as a number of observations."""
_SEEN_BITS = 8
_LONGEST_MEMORY = (1 << _SEEN_BITS) - 1
_RATES = [65536 // (seen + _PRIOR) for seen in range(_LONGEST_MEMORY + 1)]
_NEXT = [*range(1, _LONGEST_MEMORY + 1), _LONGEST_MEMORY]
_UNKNOWN = 32768 << _SEEN_BITS
"""A state: the probability in units of 1/65536, with the number of observations in the low bits."""
_TO_CHANCE = _SEEN_BITS + 4
"""Shift from a state to its probability in units of 1/4096."""
_LEARNING = 5


class Adaptive:
    """Bits and numbers whose probabilities depend on one context, which is any hashable, such as a name."""

    def __init__(self) -> None:
        self._models: defaultdict[Hashable, dict[int, int]] = defaultdict(dict)

    def bit(self, coder: Coder, context: Hashable, bit: int) -> int:
        """Code a bit in a context."""
        return _adapted(coder.bit, self._models[context], 0, bit)

    def number(self, coder: Coder, context: Hashable, value: int) -> int:
        """Code a number ≥ 0: its bit length, then its bits (Elias γ, adaptive except for the low bits)."""
        model, code = self._models[context], coder.bit
        length, wanted = 0, (value + 1).bit_length() - 1
        while length < _LONGEST_NUMBER and _adapted(code, model, length, int(wanted > length)):
            length += 1
        found = 1
        for place in range(length - 1, -1, -1):
            bit = (value + 1) >> place & 1
            near_top = length - place <= 2
            bit = _adapted(code, model, length << 3 | found | 1 << 10, bit) if near_top else code(_EVEN, bit)
            found = found << 1 | bit
        return found - 1

    def tree(self, coder: Coder, context: Hashable, value: int, bits: int) -> int:
        """Code a number of `bits` bits, the highest first, each in the context of the bits before it."""
        model, code, node = self._models[context], coder.bit, 1
        for place in range(bits - 1, -1, -1):
            node = node << 1 | _adapted(code, model, node, value >> place & 1)
        return node - (1 << bits)

    def symbol(self, coder: Coder, context: Hashable, value: int, count: int) -> int:
        """Code one of `count` symbols in unary: small ones take few steps."""
        model, code, found = self._models[context], coder.bit, 0
        while found < count - 1 and _adapted(code, model, found, int(value > found)):
            found += 1
        return found


_LONGEST_NUMBER = 64


def _adapted(code: Callable[[int, int], int], model: dict[int, int], context: int, bit: int) -> int:
    """Code a bit with the probability of its single context, and update the context."""
    state = model.get(context, _UNKNOWN)
    chance, seen = state >> _SEEN_BITS, state & _LONGEST_MEMORY
    bit = code(state >> _TO_CHANCE or 1, bit)
    chance += (bit * 65535 - chance) * _RATES[seen] >> 16
    model[context] = chance << _SEEN_BITS | _NEXT[seen]
    return bit


def even_bits(coder: Coder, value: int, count: int) -> int:
    """Code `count` equiprobable bits."""
    found, code = 0, coder.bit
    for place in range(count - 1, -1, -1):
        found = found << 1 | code(_EVEN, value >> place & 1)
    return found


class Mixer:
    """Predicts each bit from five contexts at once: a sum of their logits with learned weights.

    The first context is the general one; a new context starts from its probability. Contexts are integers, disjoint
    between the five positions. The code is unrolled because nearly all the time is spent here.
    """

    def __init__(self, *weights: float) -> None:
        self._weights = [int(65536 * weight) for weight in weights]
        self._states: dict[int, int] = {}

    def bit(self, code: Callable[[int, int], int], bit: int, a: int, b: int, c: int, d: int, e: int) -> int:
        """Code a bit with a coder's `bit` method, given the five contexts."""
        states, weights = self._states, self._weights
        in_a = states.get(a, _UNKNOWN)
        fresh = in_a & ~_LONGEST_MEMORY
        in_b, in_c, in_d, in_e = states.get(b, fresh), states.get(c, fresh), states.get(d, fresh), states.get(e, fresh)
        says_a, says_b, says_c = (
            _STRETCH[in_a >> _TO_CHANCE],
            _STRETCH[in_b >> _TO_CHANCE],
            _STRETCH[in_c >> _TO_CHANCE],
        )
        says_d, says_e = _STRETCH[in_d >> _TO_CHANCE], _STRETCH[in_e >> _TO_CHANCE]
        w_a, w_b, w_c, w_d, w_e = weights
        logit = w_a * says_a + w_b * says_b + w_c * says_c + w_d * says_d + w_e * says_e >> 16
        chance = _SQUASH[_MOST + (-_MOST if logit < -_MOST else _MOST if logit > _MOST else logit)]
        bit = code(chance, bit)
        error = ((bit << 12) - chance) * _LEARNING
        weights[:] = (
            w_a + (error * says_a >> 13),
            w_b + (error * says_b >> 13),
            w_c + (error * says_c >> 13),
            w_d + (error * says_d >> 13),
            w_e + (error * says_e >> 13),
        )
        goal = bit * 65535
        for context, state in ((a, in_a), (b, in_b), (c, in_c), (d, in_d), (e, in_e)):
            chance, seen = state >> _SEEN_BITS, state & _LONGEST_MEMORY
            states[context] = chance + ((goal - chance) * _RATES[seen] >> 16) << _SEEN_BITS | _NEXT[seen]
        return bit
