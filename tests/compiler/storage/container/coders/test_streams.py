from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.storage.container.coders import streams
from onnx_compress.compiler.storage.container.coders.adaptive import Decoder, Encoder
from onnx_compress.compiler.storage.container.coders.notes import BulkReader, BulkWriter, Notes
from onnx_compress.compiler.storage.container.coders.small_weights import Grid
from onnx_compress.compiler.storage.container.coders.streams import Stream

RNG = np.random.default_rng


@pytest.mark.parametrize("method", streams.METHODS)
@pytest.mark.parametrize("alphabet", [2, 5, 16, 256])
def test_every_way_of_coding_in_bulk(method, alphabet, monkeypatch):
    symbols = np.minimum(RNG(0).geometric(0.3, 6000) - 1, alphabet - 1)
    if method == streams.ONE:
        symbols[:] = alphabet - 1
    stream = Stream(Grid(60, 100, 1), alphabet, 6000)
    plans = [streams._Plan(streams.ONE, 0)] if method == streams.ONE else _plans(stream, symbols)
    plans = [plan for plan in plans if plan.method == method]
    assert plans
    for plan in plans:
        sections, encoder = list[bytes](), Encoder()
        bulk = BulkWriter(sections.append)
        streams.write(Notes(encoder), bulk, stream, symbols, plan)
        bulk.close()
        raw = encoder.getvalue()
        found = streams.read(Notes(Decoder(raw, 1 << 20)), BulkReader(iter(sections)), stream)
        assert (found == symbols).all()
        size = len(raw) + sum(map(len, sections))
        assert 0.9 * plan.bits / 8 - 20 < size < 1.1 * plan.bits / 8 + 20


def _plans(stream: Stream, symbols: np.ndarray) -> list[streams._Plan]:
    counts = np.bincount(symbols, minlength=stream.alphabet)
    fixed = streams._Plan(streams.FIXED, stream.count * streams._width(stream.alphabet))
    others = [*streams._huffman(stream, counts, np.inf), *streams._ranges(stream, symbols, counts)]
    return [fixed, streams._zstandard(symbols, 1e9), *others]
