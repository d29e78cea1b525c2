from __future__ import annotations

import pytest

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.storage.container.coders import notes
from onnx_compress.compiler.storage.container.coders.adaptive import Decoder, Encoder
from onnx_compress.compiler.storage.container.coders.notes import BulkReader, BulkWriter, Notes


def coded(way: Notes, flag: bool, choice: int, number: int) -> tuple[bool, int, int]:
    return way.flag("f", flag), way.choice("c", choice, 5), way.number("n", number)


def test_notes_come_back():
    encoder = Encoder()
    assert coded(Notes(encoder), True, 3, 70_000) == (True, 3, 70_000)
    assert coded(Notes(Decoder(encoder.getvalue(), 1 << 12)), False, 0, 0) == (True, 3, 70_000)


def test_a_trial_is_appended():
    encoder, trial = Encoder(), Encoder()
    way = Notes(encoder)
    way.number("n", 9)
    Notes(trial).number("m", 5)
    way.take(trial)
    back = Decoder(encoder.getvalue(), 1 << 12)
    assert (Notes(back).number("n", 0), Notes(back).number("m", 0)) == (9, 5)


def test_slow_bits_are_limited():
    way = Notes(Encoder(), budget=10)
    way.spend(7)
    way.check(3)
    with pytest.raises(ModelError, match="bit by bit"):
        way.spend(4)
    assert way.budget == 3


def test_pieces_stay_whole_and_come_back(monkeypatch):
    monkeypatch.setattr(notes, "SECTION_BYTES", 10)
    sections: list[bytes] = []
    writer, pieces = BulkWriter(sections.append), [b"a" * 8, b"b" * 8, b"", b"c" * 3]
    for piece in pieces:
        writer.write(piece)
    writer.close()
    assert sections == [b"a" * 8 + b"b" * 8, b"c" * 3]
    reader = BulkReader(iter(sections))
    assert [reader.read(len(piece)) for piece in pieces] == pieces
    reader.close()


def test_bulk_that_is_too_short_or_too_long_is_refused():
    reader = BulkReader(iter([b"abc", b"d"]))
    assert reader.read(2) == b"ab"
    with pytest.raises(ModelError, match="shorter than declared"):
        reader.read(2)
    with pytest.raises(ModelError, match="more than it declares"):
        reader.close()
    assert reader.read(1) == b"c"
    with pytest.raises(ModelError, match="more than it declares"):
        reader.close()
