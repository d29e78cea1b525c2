import numpy as np
import pytest

from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.pipeline import held_out as judges
from onnx_compress.compiler.pipeline.datasets import datasets
from onnx_compress.compiler.pipeline.held_out import HeldOut
from onnx_compress.compiler.pipeline.settings import Settings
from tests.compiler.pipeline.passes_for_tests import classifier, labelled


def product(size):
    return from_text(
        f'<ir_version: 8, opset_import: ["" : 17]> g (float[256,256] z) => (float[256,{size}] y)'
        f"<float[256,{size}] w> {{ y = MatMul (z, w) }}"
    )


def test_parts_of_a_model_are_timed_on_inputs_of_their_own(tmp_path, monkeypatch):
    """Like all times they are stored in the table and not measured again."""
    model = classifier()
    _, held_out = datasets(model, labelled(), None, {}, 0)
    judge = HeldOut.of(model, held_out, Settings(latency_table=tmp_path / "table.json"))
    models, feeds = {"wide": product(1024), "narrow": product(64)}, {"z": np.ones((256, 256), np.float32)}
    times = judge.speed(models, feeds)
    assert 0 < times["narrow"] < 0.3 * times["wide"]
    monkeypatch.setattr(judges.latency, "interleaved", lambda *_: pytest.fail("measured again"))
    assert judge.speed(models, feeds) == pytest.approx(times, rel=1e-5)


@pytest.mark.parametrize("together", [0, 1 << 30], ids=["one after the other", "side by side"])
def test_a_result_with_a_fixed_batch_is_compared_with_a_free_one(tmp_path, monkeypatch, together):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(judges, "TOGETHER", together)
    free = classifier()
    fixed = free.clone()
    for tensor in (*fixed.inputs(), *fixed.outputs()):
        tensor.shape = (7, *tensor.shape[1:])
    _, held_out = datasets(free, labelled(), None, {}, 0)
    assert len(held_out) % 7, "the last run is padded"
    found = HeldOut.of(free, held_out, Settings()).numerics(fixed)
    assert max(one.max_abs for one in found.values()) < 1e-5
