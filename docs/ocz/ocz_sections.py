"""Sections of `.ocz` files, with their checksums."""

from __future__ import annotations

import zlib


def varint(data: bytes, place: int) -> tuple[int, int]:
    """A number in LEB128, and where it ends."""
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7


def sections(file: bytes) -> list[bytes]:
    """The sections of a file, their checksums verified."""
    if file[:5] != b"OCZ\x01\x00":
        raise ValueError("not a file of format 1, transform 0")
    crc, place, found = zlib.crc32(file[:5]), 5, []
    while place < len(file):
        length, start = varint(file, place)
        end = start + length
        crc = zlib.crc32(file[place:end], crc)
        if int.from_bytes(file[end : end + 4], "little") != crc:
            raise ValueError("checksum")
        found.append(file[start:end])
        place = end + 4
    return found


class Bulk:
    """The bulk sections. A piece never crosses from one section into the next."""

    def __init__(self, parts: list[bytes]) -> None:
        self._parts = iter(parts)
        self._left = b""

    def read(self, count: int) -> bytes:
        """The next piece of `count` bytes."""
        if count and not self._left:
            self._left = next(self._parts)
        piece, self._left = self._left[:count], self._left[count:]
        return piece
