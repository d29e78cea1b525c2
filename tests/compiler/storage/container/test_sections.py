from __future__ import annotations

import io

import pytest

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.storage.container.sections import FORMAT, HEAD_BYTES, MAGIC, SectionReader, SectionWriter

SECTIONS = [b"first", b"", b"x" * 300]


def written(sections=SECTIONS) -> bytes:
    out = io.BytesIO()
    writer = SectionWriter(out)
    for section in sections:
        writer.write(section)
    assert writer.written == len(out.getvalue())
    return out.getvalue()


def reader(raw: bytes) -> SectionReader:
    return SectionReader(io.BytesIO(raw), len(raw))


def test_sections_come_back():
    whole = reader(written())
    assert whole.read() == SECTIONS[0]
    assert list(whole.rest()) == SECTIONS[1:]


def test_every_damaged_byte_is_noticed():
    raw = written()
    for place in range(len(raw)):
        damaged = bytearray(raw)
        damaged[place] ^= 1
        with pytest.raises(ModelError):
            list(reader(bytes(damaged)).rest())


def test_sections_can_not_be_swapped_or_left_out():
    a, b = b"a" * 20, b"b" * 20
    raw = written([a, b])
    size = (len(raw) - HEAD_BYTES) // 2
    head, first, second = raw[:HEAD_BYTES], raw[HEAD_BYTES : HEAD_BYTES + size], raw[HEAD_BYTES + size :]
    for other in (head + second + first, head + second):
        with pytest.raises(ModelError, match="checksum"):
            list(reader(other).rest())


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"PK\x03\x04..", "not an .ocz file"),
        (MAGIC + bytes([FORMAT + 1, 0]), "newer version"),
        (MAGIC + bytes([FORMAT, 9]), "transform 9"),
        (MAGIC, "truncated"),
    ],
)
def test_another_header_is_refused(raw, message):
    with pytest.raises(ModelError, match=message):
        reader(raw)


def test_a_length_without_end_is_refused():
    with pytest.raises(ModelError, match="invalid length"):
        reader(MAGIC + bytes([FORMAT, 0]) + b"\xff" * 20).read()
