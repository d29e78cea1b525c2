"""The two outputs for a tensor: notes (its description and small streams, coded bit by bit), and bulk bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.storage.container.coders.adaptive import Adaptive, Coder, Encoder, Mixer
from onnx_compress.compiler.storage.container.coders.small_weights import Liveness

SEQUENTIAL_BITS = 1 << 16
"""Maximum number of weight bits per file that are coded bit by bit, which is slow; the rest is coded in bulk."""
SECTION_BYTES = 1 << 20
"""Size in bytes at which a bulk section is closed."""


@dataclass
class Notes:
    """The stream coded bit by bit, in one direction, with its adaptive models."""

    coder: Coder
    adaptive: Adaptive = field(default_factory=Adaptive)
    live: Liveness = field(default_factory=Liveness)
    scalars: Mixer = field(default_factory=lambda: Mixer(0.3, 0.2, 0.3, 0.2, 0.0))
    budget: int = SEQUENTIAL_BITS
    trials: int = 2 * SEQUENTIAL_BITS
    """Number of slow bits that a writer may still spend on trials."""
    patience: int = 64
    """Number of slow bits that a writer accepts per bit saved."""

    def spend(self, bits: int) -> None:
        """Take from the budget of slow bits. Raises ModelError if it is exceeded, which no writer does."""
        self.check(bits)
        self.budget -= bits

    def check(self, bits: int) -> None:
        """Raise ModelError if fewer than `bits` slow bits are left."""
        if bits > self.budget:
            raise ModelError("too much of it is coded bit by bit: the file is damaged")

    def take(self, trial: Encoder) -> None:
        """Append the bits that a trial coded."""
        if isinstance(self.coder, Encoder):
            self.coder.extend(trial)

    def flag(self, context: str, value: bool) -> bool:
        """Code a flag."""
        return bool(self.adaptive.bit(self.coder, context, int(value)))

    def choice(self, context: str, value: int, count: int) -> int:
        """Code one of `count` alternatives."""
        return self.adaptive.symbol(self.coder, context, value, count)

    def number(self, context: str, value: int) -> int:
        """Code a number ≥ 0."""
        return self.adaptive.number(self.coder, context, value)


class BulkWriter:
    """Collects bytes and emits them in sections."""

    def __init__(self, emit: Callable[[bytes], None]) -> None:
        self._emit = emit
        self._parts: list[bytes] = []
        self._held = 0

    def write(self, data: bytes) -> None:
        """Append a piece; a piece is never split between sections."""
        self._parts.append(data)
        self._held += len(data)
        if self._held >= SECTION_BYTES:
            self.close()

    def close(self) -> None:
        """Emit the remaining bytes."""
        if self._held:
            self._emit(b"".join(self._parts))
        self._parts, self._held = [], 0


class BulkReader:
    """Reads the pieces of a BulkWriter from its sections."""

    def __init__(self, sections: Iterator[bytes]) -> None:
        self._sections = sections
        self._section = b""
        self._place = 0

    def read(self, count: int) -> bytes:
        """The next piece of `count` bytes. Raises ModelError if fewer bytes are left in the section."""
        if count and self._place == len(self._section):
            self._section, self._place = next(self._sections, b""), 0
        if count > len(self._section) - self._place:
            raise ModelError("a stream is shorter than declared: the file is damaged")
        self._place += count
        return self._section[self._place - count : self._place]

    def close(self) -> None:
        """Raise ModelError if unread bytes are left."""
        if self._place != len(self._section) or next(self._sections, None) is not None:
            raise ModelError("it holds more than it declares: the file is damaged")
