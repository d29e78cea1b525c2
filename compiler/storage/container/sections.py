"""The framing of a container: a header, then sections, each with its length and checksum.

::

    "OCZ" · format version · transform                    5 bytes
    sections: length (varint) · bytes · CRC-32            until the end of the file

Each section's CRC continues from the CRC of everything before it, so sections can't be swapped or left out.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.storage.container.wire import varint

MAGIC = b"OCZ"
FORMAT = 1
IDENTITY = 0
"""The transform of a container that holds the model's bytes unchanged. Other transforms are for models that are stored
in another form and restored when unpacked; a reader refuses a transform it does not know."""
HEAD_BYTES = len(MAGIC) + 2
_CRC_BYTES = 4
_MOST_VARINT = 9


class SectionWriter:
    """Writes header and sections to a file."""

    def __init__(self, out: BinaryIO, transform: int = IDENTITY) -> None:
        self._out = out
        self._crc = 0
        self.written = 0
        self._put(MAGIC + bytes([FORMAT, transform]))

    def write(self, data: bytes) -> None:
        """Append a section."""
        self._put(varint(len(data)))
        self._put(data)
        self._out.write(self._crc.to_bytes(_CRC_BYTES, "little"))
        self.written += _CRC_BYTES

    def _put(self, data: bytes) -> None:
        # Checksums are left out of the CRC: a CRC over data and their own CRC is a constant.
        self._crc = zlib.crc32(data, self._crc)
        self._out.write(data)
        self.written += len(data)


class SectionReader:
    """Reads the sections of a file in order. Raises ModelError for an incomplete or damaged one."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size
        self._crc = 0
        head = self._take(HEAD_BYTES)
        if not head.startswith(MAGIC):
            raise ModelError("not an .ocz file")
        if head[len(MAGIC)] != FORMAT:
            raise ModelError(f"the file has format {head[len(MAGIC)]}: a newer version of onnx-compress reads it")
        self.transform = head[len(MAGIC) + 1]
        if self.transform != IDENTITY:
            raise ModelError(f"the file uses transform {self.transform}: a newer version of onnx-compress reads it")

    def read(self) -> bytes:
        """The next section."""
        data = self._take(self._length())
        if int.from_bytes(self._bytes(_CRC_BYTES), "little") != self._crc:
            raise ModelError("a checksum does not match: the file is damaged")
        return data

    def rest(self) -> Iterator[bytes]:
        """The remaining sections."""
        while self._left:
            yield self.read()

    def _take(self, count: int) -> bytes:
        data = self._bytes(count)
        self._crc = zlib.crc32(data, self._crc)
        return data

    def _bytes(self, count: int) -> bytes:
        if count > self._left:
            raise ModelError("the file is truncated")
        data = self._file.read(count)
        if len(data) != count:
            raise ModelError("the file is truncated")
        self._left -= count
        return data

    def _length(self) -> int:
        value = 0
        for shift in range(0, 7 * _MOST_VARINT, 7):
            byte = self._take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ModelError("a section has an invalid length: the file is damaged")
