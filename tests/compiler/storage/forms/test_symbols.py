from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_compress.compiler.storage import interpret
from onnx_compress.compiler.storage.forms import symbols
from onnx_compress.compiler.storage.forms.symbols import LARGEST, Packing, most_per_word
from onnx_compress.compiler.storage.program import Builder
from tests.compiler.storage.weights import run_in_onnxruntime, same

bases = st.sampled_from((2, 3, 4, 6, 7, 9, 16, 17, 40, 128, 200, 256, 500))
opsets = st.sampled_from((11, 13, 21))


@pytest.mark.parametrize(("base", "bits", "per_word"), [(2, 8, 8), (3, 8, 5), (16, 8, 2), (40, 16, 3), (17, 64, 15)])
def test_symbols_per_word(base, bits, per_word):
    assert most_per_word(base, bits) == per_word
    assert base**per_word <= 1 << LARGEST[bits] < base ** (per_word + 1)


@given(base=bases, count=st.integers(1, 50), opset=opsets, seed=st.integers(0, 99))
def test_symbols_come_back(base, count, opset, seed):
    given_symbols = np.random.default_rng(seed).integers(0, base, count)
    packing = Packing.best(base, count, opset)
    build = Builder("b", opset)
    program = build.program("x", symbols.write(build, given_symbols, packing, "i"))
    found = interpret.run(program)[program.outputs[0]]
    assert found[:count].tolist() == given_symbols.tolist()
    assert not found[count:].any(), "padding is zeros"
    assert len(found) < count + packing.per_word
    assert same(run_in_onnxruntime(program, opset)[0], found)


@given(base=bases, count=st.integers(1, 50), opset=opsets)
def test_a_lookup_is_the_codebook_at_the_symbols(base, count, opset):
    rng = np.random.default_rng(0)
    at, codebook = rng.integers(0, base, count), rng.standard_normal(base).astype(np.float32)
    build = Builder("b", opset)
    name = symbols.write_lookup(build, at, codebook, Packing.best(base, count, opset))
    found = interpret.run(build.program("x", name))[name]
    assert same(found.reshape(-1)[:count], codebook[at])


@given(base=bases, count=st.integers(1, 5000), opset=opsets)
def test_the_size_is_that_of_the_words(base, count, opset):
    packing = Packing.best(base, count, opset)
    words = packing.pack(np.zeros(count, np.int64))
    assert packing.nbytes(count) == math.ceil(words.size * packing.bits / 8)


def test_long_streams_are_not_divided():
    assert Packing.best(17, 5000, 13).bits == 64
    assert Packing.best(17, symbols.SHORT + 1, 13).bits == 16


def test_tables_are_shared():
    build = Builder("b", 13)
    for suffix in ("i", "k"):
        symbols.write(build, np.arange(9), Packing(9, 16, 5), suffix)
    assert [step.op for step in build.steps.values()].count("Mod") == 1
