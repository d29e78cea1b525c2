from __future__ import annotations

from onnx_compress.compiler.storage.container.data_files import Stretch, locations, stretches
from onnx_compress.compiler.storage.container.wire import Tensor


def tensor(location: str, offset: str, length: str) -> Tensor:
    entries = {b"location": location.encode(), b"offset": offset.encode(), b"length": length.encode()}
    return Tensor(1, [2], outside=entries, is_outside=True)


def test_files_are_listed_once_in_the_order_of_their_first_reference():
    given = [tensor("b", "0", "8"), tensor("a", "0", "8"), tensor("b", "8", "8"), tensor("", "0", "8")]
    given.append(Tensor(outside={b"location": b"c"}))
    assert locations(given) == ["b", "a"]


def test_a_file_is_cut_into_its_tensors_and_the_bytes_between():
    given = [tensor("f", "16", "8"), tensor("f", "4", "8"), tensor("other", "0", "4")]
    assert stretches(given, "f", 30) == [
        Stretch(0, 4, 2, (4,)),
        Stretch(4, 12, 1, (2,)),
        Stretch(12, 16, 2, (4,)),
        Stretch(16, 24, 1, (2,)),
        Stretch(24, 30, 2, (6,)),
    ]


def test_of_overlapping_tensors_the_first_and_longest_is_taken():
    given = [tensor("f", "0", "4"), tensor("f", "0", "8"), tensor("f", "4", "8")]
    assert stretches(given, "f", 12) == [Stretch(0, 8, 1, (2,)), Stretch(8, 12, 2, (4,))]


def test_claims_beyond_the_file_or_without_numbers_are_plain_bytes():
    for offset, length in (("0", "13"), ("x", "4"), ("0", ""), ("9" * 19, "4")):
        assert stretches([tensor("f", offset, length)], "f", 12) == [Stretch(0, 12, 2, (12,))]
    assert stretches([], "f", 0) == []
