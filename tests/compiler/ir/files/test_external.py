"""External data: found only in the model's folder, checked on load, mapped when read, safe when overwritten."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.ir import model as model_module
from onnx_compress.compiler.ir import weights
from onnx_compress.compiler.ir.model import Model

W = np.arange(2000, dtype=np.float32).reshape(1000, 2)


def write_model(folder: Path, dtype: int = TensorProto.FLOAT, **entries: str) -> Path:
    """A model whose weight `w` is in w.bin at offset 8; `entries` override the model's entries for it."""
    (folder / "w.bin").write_bytes(b"\0" * 8 + W.tobytes())
    tensor = TensorProto(name="w", dims=W.shape, data_type=dtype, data_location=TensorProto.EXTERNAL)
    said = {"location": "w.bin", "offset": "8", "length": str(W.nbytes), **entries}
    for key, value in said.items():
        tensor.external_data.add(key=key, value=value)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1000])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [tensor])
    path = folder / "m.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    return path


def test_it_is_read_on_demand(tmp_path):
    constant = next(Model.load(write_model(tmp_path)).constants())
    assert constant.stored.external.file.path == tmp_path / "w.bin"
    assert np.array_equal(constant.values, W)
    assert not constant.values.flags.writeable


def test_it_is_embedded_again_when_saved(tmp_path):
    Model.load(write_model(tmp_path)).save(tmp_path / "out.onnx")
    (tmp_path / "w.bin").unlink()
    assert np.array_equal(next(Model.load(tmp_path / "out.onnx").constants()).values, W)


def test_a_4_bit_weight_is_unpacked(tmp_path):
    values = np.array([[-8, 7, 1]], helper.tensor_dtype_to_np_dtype(TensorProto.INT4))
    path = write_model(tmp_path)
    (tmp_path / "w.bin").write_bytes(numpy_helper.from_array(values).raw_data)
    proto = onnx.load(path, load_external_data=False)
    tensor = TensorProto(name="w", dims=[1, 3], data_type=TensorProto.INT4, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="w.bin")
    proto.graph.initializer[0].CopyFrom(tensor)
    constant = next(Model.from_proto(proto, tmp_path).constants())
    assert constant.nbytes == 2
    assert constant.values.tolist() == [[-8, 7, 1]]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"location": "gone.bin"}, "'gone.bin' is missing"),
        ({"location": ""}, "without a location"),
        ({"location": "../w.bin"}, "leaves the model's folder"),
        ({"location": "sub/../../w.bin"}, "leaves the model's folder"),
        ({"location": "/etc/passwd"}, "leaves the model's folder"),
        ({"location": "C:\\w.bin"}, "leaves the model's folder"),
        ({"location": "."}, "is missing"),
        ({"location": "x" * 5000}, "can't be read"),
        ({"offset": "16"}, "has 8008 bytes, but 8016 are needed: the file is truncated"),
        ({"length": "7996"}, "declares 7996 bytes of external data where its shape \\[1000, 2\\] needs 8000"),
        ({"offset": "-1"}, "invalid external offset or length '-1'"),
        ({"offset": "٣"}, "invalid external offset or length"),
        ({"length": "1e3"}, "invalid external offset or length '1e3'"),
        ({"length": "9" * 30}, "invalid external offset or length"),
    ],
)
def test_external_data_that_does_not_fit_is_refused_on_load(tmp_path, entries, message):
    (tmp_path / "in").mkdir()
    (tmp_path / "w.bin").write_bytes(W.tobytes())
    path = write_model(tmp_path / "in", **entries)
    with pytest.raises(ModelError, match=message) as caught:
        Model.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_absolute_path_is_refused_even_into_the_folder(tmp_path):
    with pytest.raises(ModelError, match="leaves the model's folder"):
        Model.load(write_model(tmp_path, location=str(tmp_path / "w.bin")))


def test_a_link_that_leaves_the_folder_is_refused(tmp_path):
    (tmp_path / "secret").write_bytes(b"\0" * 9000)
    (tmp_path / "in").mkdir()
    path = write_model(tmp_path / "in", location="link")
    (tmp_path / "in" / "link").symlink_to("../secret")
    with pytest.raises(ModelError, match="leaves the model's folder"):
        Model.load(path)


def test_a_cycle_of_links_is_refused(tmp_path):
    path = write_model(tmp_path, location="a")
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ModelError, match=r"can't be read|is missing"):
        Model.load(path)


def test_a_pipe_is_refused(tmp_path):
    path = write_model(tmp_path, location="pipe")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelError, match="is missing"):
        Model.load(path)


def test_a_message_without_a_file_has_no_folder(tmp_path):
    proto = onnx.load(write_model(tmp_path), load_external_data=False)
    with pytest.raises(ModelError, match="not loaded from a file"):
        Model.from_proto(proto)


def test_a_file_that_shrinks_later_is_an_error_not_a_crash(tmp_path):
    constant = next(Model.load(write_model(tmp_path)).constants())
    os.truncate(tmp_path / "w.bin", 100)
    with pytest.raises(ModelError, match="was truncated after the model was loaded"):
        _ = constant.values


def test_a_sparse_weight_with_external_data_is_refused(tmp_path):
    proto = onnx.load(write_model(tmp_path), load_external_data=False)
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(np.ones(1, np.float32), "w"), numpy_helper.from_array(np.zeros(1, np.int64)), [4]
    )
    sparse.indices.CopyFrom(proto.graph.initializer[0])
    del proto.graph.initializer[:]
    proto.graph.sparse_initializer.append(sparse)
    with pytest.raises(ModelError, match="sparse initializer 'w' has external data"):
        Model.from_proto(proto, tmp_path)


@pytest.fixture
def _always_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save as if every model were above 2 GiB."""
    monkeypatch.setattr(model_module, "PROTO_LIMIT", 0)


@pytest.mark.usefixtures("_always_apart")
class TestApart:
    def test_large_weights_are_written_to_a_separate_file(self, tmp_path):
        Model.load(write_model(tmp_path)).save(tmp_path / "out.onnx")
        assert (tmp_path / "out.onnx").stat().st_size < 1000
        tensor = onnx.load(tmp_path / "out.onnx", load_external_data=False).graph.initializer[0]
        assert {e.key: e.value for e in tensor.external_data} == {
            "location": "out.onnx.data",
            "offset": "0",
            "length": "8000",
        }
        onnx.checker.check_model(tmp_path / "out.onnx", full_check=True)
        assert run(tmp_path / "out.onnx") == run(tmp_path / "m.onnx")

    def test_twice_the_same_bytes(self, tmp_path):
        model = Model.load(write_model(tmp_path))
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir()
            model.save(tmp_path / folder / "out.onnx")
        for name in ("out.onnx", "out.onnx.data"):
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()

    @pytest.mark.parametrize("name", ["näme.onnx", "two words.onnx", "a\nb.onnx", "%41.onnx", "…", "-x.onnx", "#.onnx"])
    def test_odd_file_names(self, tmp_path, name):
        Model.load(write_model(tmp_path)).save(tmp_path / name)
        assert np.array_equal(next(Model.load(tmp_path / name).constants()).values, W)
        assert run(tmp_path / name) == run(tmp_path / "m.onnx")

    def test_over_the_input_while_it_is_mapped(self, tmp_path):
        model = Model.load(write_model(tmp_path))
        model.save(tmp_path / "big.onnx")
        model = Model.load(tmp_path / "big.onnx")
        before = next(model.constants()).values
        model.graph.initializers.insert(0, weights.Constant("front", np.ones(3000, np.float32)))
        model.save(tmp_path / "big.onnx", force=True)
        assert np.array_equal(before, W)
        assert np.array_equal(model.graph.initializers[1].values, W)
        model.save(tmp_path / "again.onnx")
        for name in ("big.onnx", "again.onnx"):
            assert np.array_equal(list(Model.load(tmp_path / name).constants())[1].values, W)

    def test_weights_in_constant_nodes_are_written_there_too(self, tmp_path):
        proto = onnx.load(write_model(tmp_path))
        node = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(W))
        del proto.graph.initializer[:]
        proto.graph.node.insert(0, node)
        Model.from_proto(proto).save(tmp_path / "out.onnx")
        assert (tmp_path / "out.onnx").stat().st_size < 1000
        assert run(tmp_path / "out.onnx") == run(tmp_path / "m.onnx")
        tensor = weights.input_constant(Model.load(tmp_path / "out.onnx").graph.nodes[1], 1)
        assert np.array_equal(tensor.values, W)

    def test_a_weight_is_copied_without_the_kernel(self, tmp_path, monkeypatch):
        monkeypatch.delattr(os, "copy_file_range", raising=False)
        Model.load(write_model(tmp_path)).save(tmp_path / "out.onnx")
        assert (tmp_path / "out.onnx.data").read_bytes() == W.tobytes()


def run(path: Path) -> list:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.ones((1, 1000), np.float32)})[0].tolist()
