"""The big model: a sparse file of the declared size, valid, and computed by onnxruntime."""

import time

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from models import big


def external(model: onnx.ModelProto) -> list[dict[str, str]]:
    tensors = [t for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    return [{e.key: e.value for e in t.external_data} for t in tensors]


def run(path, images: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run(None, {"image": images})[0]


def test_more_than_two_gigabytes_take_no_time_and_no_disk_space(tmp_path):
    started = time.perf_counter()
    path = big.write(tmp_path / "big.onnx")
    assert time.perf_counter() - started < 1
    data = tmp_path / "big.onnx.data"
    assert data.stat().st_size == 5 * 2**29
    assert path.stat().st_size + 512 * data.stat().st_blocks < 4_000_000
    parts = external(onnx.load(path, load_external_data=False))
    assert sum(int(p["length"]) for p in parts) == 5 * 2**29
    onnx.checker.check_model(path)


def test_a_small_one_runs_and_every_weight_matters(tmp_path):
    path = big.write(tmp_path / "small.onnx", size=4 * big.LAYER_BYTES)
    images = np.random.default_rng(0).standard_normal((3, 3, 16, 16), dtype=np.float32)
    before = run(path, images)
    assert before.shape == (3, 10)
    assert before.std(axis=0).mean() > 0.01
    for part in external(onnx.load(path, load_external_data=False)):
        with (tmp_path / part["location"]).open("r+b") as file:
            file.seek(int(part["offset"]))
            file.write(bytes(4 * big.EDGE))
        after = run(path, images)
        assert not np.allclose(after, before)
        before = after


@pytest.mark.parametrize(("size", "layers"), [(0, 1), (big.LAYER_BYTES, 1), (big.LAYER_BYTES + 1, 2)])
def test_size_is_rounded_up_to_whole_layers(tmp_path, size, layers):
    path = big.write(tmp_path / "m.onnx", size=size)
    assert (tmp_path / "m.onnx.data").stat().st_size == layers * big.LAYER_BYTES
    ops = [n.op_type for n in onnx.load(path, load_external_data=False).graph.node]
    assert ops.count("Gemm") + ops.count("MatMul") == layers + 1


def test_same_bytes_each_time(tmp_path):
    first, again = (big.write(tmp_path / name / "m.onnx", size=1) for name in _folders(tmp_path))
    assert first.read_bytes() == again.read_bytes()


def _folders(tmp_path) -> tuple[str, str]:
    for name in "ab":
        (tmp_path / name).mkdir()
    return "a", "b"
