"""Drawn inputs: the same for the same seed, of the right shape and dtype, and more than noise."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.errors import UsageError
from onnx_compress.compiler.runtime.specs import TensorSpec
from onnx_compress.compiler.zoo.manifest import Draw, ZooEntry, load_manifest
from onnx_compress.compiler.zoo.recipes import feeds


def entry(**inputs):
    return ZooEntry(name="a", source="built", licence="MIT", framework="", covers="", inputs=inputs)


def spec(name, dtype=np.float32):
    return TensorSpec(name, np.dtype(dtype), None)


def test_a_seed_gives_the_same_feeds_and_another_seed_others():
    toy = entry(x=Draw(shape=("B", 5)), n=Draw(shape=("B",), draw="integers", low=3, high=6))
    inputs = [spec("x"), spec("n", np.int64)]
    first, again, other = (feeds(toy, inputs, count=2, batch=4, seed=s) for s in (1, 1, 2))
    assert all(np.array_equal(a[k], b[k]) for a, b in zip(first, again, strict=True) for k in "xn")
    assert not np.array_equal(first[0]["x"], other[0]["x"])
    assert not np.array_equal(first[0]["x"], first[1]["x"])
    assert first[0]["x"].dtype == np.float32
    assert set(np.unique(np.concatenate([f["n"] for f in first]))) <= {3, 4, 5}


def test_text_is_dark_on_light_in_both_layouts():
    for shape in (("B", 3, 48, 160), ("B", 48, 160, 3)):
        page = feeds(entry(x=Draw(shape=shape, draw="text")), [spec("x")], count=1, batch=2)[0]["x"]
        assert page.shape == Draw(shape=shape).at(2)
        assert -1.2 < page.min() < -0.3 < 0.4 < np.median(page) < page.max() < 1.2


def test_tones_peak_at_harmonics_of_one_pitch():
    sound = feeds(entry(x=Draw(shape=(1, 16000, 1), draw="tones")), [spec("x", np.float64)], count=1)[0]["x"]
    assert sound.shape == (1, 16000, 1)
    spectrum = np.abs(np.fft.rfft(sound.ravel()))
    assert spectrum.max() > 50 * np.median(spectrum)


def test_mistakes_of_the_manifest_are_named():
    with pytest.raises(UsageError, match="unknown draw 'noise'"):
        feeds(entry(x=Draw(shape=(1,), draw="noise")), [spec("x")], count=1)
    with pytest.raises(UsageError, match=r"feeds \['x'\], the model takes \['y'\]"):
        feeds(entry(x=Draw(shape=(1,))), [spec("y")], count=1)


@pytest.mark.parametrize("model", load_manifest(), ids=lambda e: e.name)
def test_every_entry_can_be_drawn(model):
    batch = 2 if model.dynamic_batch else 1
    feed = feeds(model, [spec(name) for name in model.inputs], count=1, batch=batch)[0]
    assert {name: value.shape for name, value in feed.items()} == {
        name: draw.at(batch) for name, draw in model.inputs.items()
    }
    assert any(draw.draw != "constant" for draw in model.inputs.values())
