"""Files of format 1 stay readable: `format1.ocz` was written once and must always unpack to the same bytes."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from onnx_compress.compiler.storage.container import archive
from onnx_compress.compiler.storage.container.archive import Archive

GOLDEN = Path(__file__).parent / "format1.ocz"


def contents() -> tuple[bytes, bytes]:
    """A model and its data file, which together need every coding method."""
    rng = np.random.default_rng(1)
    picture = np.kron(rng.random((20, 7, 7)) < 0.2, np.ones((2, 2), bool)).reshape(20, 196)
    values = np.float32([-0.5, -0.25, 0.125, 0.3, 0.7])
    arrays = {
        "with a period": np.where(picture, values[rng.integers(0, 5, picture.shape)], np.float32(0)),
        "dead rows": np.float32(rng.random((30, 40)) < 0.1) * (np.arange(30) % 3 == 0)[:, None],
        "large and sparse": np.float32(rng.random((300, 400)) < 0.02 * (1 + np.arange(400) // 100)),
        "scales": np.rint(rng.normal(size=(64, 200)) * (1 + np.arange(64) // 16)[:, None]).astype(np.int8),
        "dense": rng.normal(size=(30, 30)).astype(np.float32),
        "half": rng.normal(size=300).astype(np.float16),
        "even": rng.integers(0, 16, 6000).astype(np.uint8),
        "repeated": np.tile(rng.integers(0, 256, 100).astype(np.uint8), 40),
        "bias": rng.normal(size=10).astype(np.float32),
        "odd": np.float32([np.nan, -np.inf, -0.0, 5e-39]),
        "shape": np.array([0, -1, 3, 1 << 40]),
        "nothing": np.zeros((0, 3), np.float32),
    }
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    outside = TensorProto(name="w", dims=[40], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": "w.bin", "offset": "16", "length": "160"}.items():
        outside.external_data.add(key=key, value=value)
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv1", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    model = helper.make_model(
        helper.make_graph([node], "main_graph", [], [], [*tensors, outside]), ir_version=10, producer_version="1"
    )
    model.opset_import[0].version = 17
    return model.SerializeToString(), b"\0" * 16 + np.arange(40, dtype=np.float32).tobytes()


def test_the_golden_file_is_read():
    raw = GOLDEN.read_bytes()
    opened = Archive(io.BytesIO(raw), len(raw))
    model = b"".join(opened.model())
    data = b"".join(opened.data(opened.files[0]))
    assert (
        hashlib.sha256(model + data).hexdigest() == "a5e2dd7c99c21e01b4d1a723107a4ac5a09233c39f867c0f734c0752e7298a51"
    )


def test_the_golden_file_is_not_smaller_than_what_is_written_now():
    model, data = contents()
    sizes = archive.pack(memoryview(model), lambda _: memoryview(data), io.BytesIO())
    assert sizes.total <= 1.02 * len(GOLDEN.read_bytes())
