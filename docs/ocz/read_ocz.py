"""A reader of `.ocz` files that is written from the description of the format and shares no code with onnx-compress.

    python read_ocz.py model.ocz model.onnx

It needs zstandard and nothing else. It is slow and leaves out the limits of the format: it is the description in a
form that runs, for those who write a reader of their own.
"""

from __future__ import annotations

import sys
import zlib
from pathlib import Path

import zstandard
from ocz_bits import Notes
from ocz_graph import MODEL, Tensor, filled, locations_of, stretches
from ocz_sections import Bulk, sections, varint
from ocz_tensors import tensor


def unpack(file: bytes, dictionary: bytes) -> tuple[bytes, dict[str, bytes]]:
    """The model file, and its data files by their locations."""
    graph, written, *parts = sections(file)
    _, place = varint(graph, 0)
    words = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    decompressor = zstandard.ZstdDecompressor(dict_data=words, format=zstandard.FORMAT_ZSTD1_MAGICLESS)
    raw = decompressor.decompressobj().decompress(graph[place:])
    is_cut = raw[0] == 1
    count, place = varint(raw, 1)
    sizes = []
    for _ in range(count):
        size, place = varint(raw, place)
        sizes.append(size)
    notes, bulk = Notes(written[4:]), Bulk(parts)

    def fill(data_type: int, found: Tensor) -> bytes:
        return tensor(notes, bulk, data_type, tuple(found.dims)) if is_cut else b""

    tensors: list[Tensor] = []
    model = filled(raw[place:], MODEL, fill, tensors)
    if not is_cut:
        model = raw[place:]
    crc, files = zlib.crc32(model), {}
    for location, size in zip(locations_of(tensors), sizes, strict=True):
        data = b"".join(tensor(notes, bulk, *stretch) for stretch in stretches(tensors, location, size))
        crc = zlib.crc32(data, crc)
        files[location.decode()] = data
    if int.from_bytes(written[:4], "little") != crc:
        raise ValueError("checksum of the unpacked files")
    return model, files


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:3])
    model, files = unpack(source.read_bytes(), (Path(__file__).parent / "dictionary.bin").read_bytes())
    target.write_bytes(model)
    for location, data in files.items():
        path = target.parent / location
        if not path.resolve().is_relative_to(target.parent.resolve()):
            raise SystemExit(f"{location} would leave the model's folder")
        path.write_bytes(data)
