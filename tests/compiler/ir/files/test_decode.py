from __future__ import annotations

import onnx

from onnx_compress.compiler.ir.encoded import EncodedTensor
from onnx_compress.compiler.ir.files import decode
from onnx_compress.compiler.ir.files.external import DataFolder
from onnx_compress.compiler.ir.model import Model
from tests.compiler.ir.stored_weights import stored
from tests.small_models import small_model


def test_a_small_file_can_not_force_unlimited_decoding(monkeypatch):
    proto = stored().proto()
    monkeypatch.setattr(decode, "MAX_BYTES", 1 << 12)
    monkeypatch.setattr(decode, "MOST_TIMES", 1)
    model = Model.from_proto(proto)
    assert not any(isinstance(constant.stored, EncodedTensor) for constant in model.constants())
    assert model.proto().SerializeToString() == proto.SerializeToString()


def test_all_weights_are_replaced_with_the_names_that_belong_to_them():
    graph = stored().proto().graph
    found = decode.decoded(graph, DataFolder(None))
    assert sorted(name for group in found.tensors.values() for name, _ in group) == ["a", "b"]
    assert found.constants == {tensor.name for tensor in graph.initializer}
    assert found.outputs == {name for node in graph.node if node.op_type != "MatMul" for name in node.output}


def test_of_a_plain_model_nothing_is_decoded():
    graph = small_model("residual").proto().graph
    assert decode.decoded(graph, DataFolder(None)) == decode.Decoded()


def test_one_damaged_weight_leaves_all_as_nodes():
    proto = stored("codebook").proto()
    indices = next(t for t in proto.graph.initializer if t.name == "bb.i")
    values = onnx.numpy_helper.to_array(indices).copy()
    values[0, 0] = 200
    indices.CopyFrom(onnx.numpy_helper.from_array(values, "bb.i"))
    assert decode.decoded(proto.graph, DataFolder(None)) == decode.Decoded()
    assert Model.from_proto(proto).proto() == proto
