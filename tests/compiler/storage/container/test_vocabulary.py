from __future__ import annotations

import zlib

import onnx

from onnx_compress.compiler.storage.container.vocabulary import VOCABULARY


def test_the_vocabulary_belongs_to_the_format():
    assert (len(VOCABULARY), zlib.crc32(VOCABULARY)) == (3870, 3957954335), "a change needs a new format version"


def test_pieces_are_whole_messages_of_protobuf():
    assert onnx.NodeProto(op_type="Relu").SerializeToString() in VOCABULARY
    made = onnx.helper.make_attribute("kernel_shape", [3, 3])
    assert onnx.NodeProto(attribute=[made]).SerializeToString() in VOCABULARY
    value = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["N", 10])
    assert onnx.GraphProto(output=[value]).SerializeToString() in VOCABULARY
