"""A model that sets every field of ONNX's messages at least once, and a check of that."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from google.protobuf.message import Message
from onnx import helper, numpy_helper

AttributeProto, TensorProto = onnx.AttributeProto, onnx.TensorProto

ELSEWHERE = {
    "onnx.ModelProto.functions": "they are inlined: test_inline.py",
    "onnx.AttributeProto.ref_attr_name": "only functions have it",
    "onnx.TensorProto.segment": "no runtime supports it; the checker refuses it",
    "onnx.TensorProto.Segment.begin": "part of the above",
    "onnx.TensorProto.Segment.end": "part of the above",
    "onnx.TensorProto.external_data": "test_external.py",
    "onnx.TensorProto.data_location": "test_external.py",
    "onnx.TypeProto.Opaque.domain": "no operator takes an opaque type",
    "onnx.TypeProto.Opaque.name": "no operator takes an opaque type",
    "onnx.TypeProto.opaque_type": "no operator takes an opaque type",
}
"""Fields that the model does not set, and why."""


def everything() -> onnx.ModelProto:
    model = onnx.ModelProto(
        ir_version=11,
        producer_name="maker",
        producer_version="1.2",
        domain="org.example",
        model_version=7,
        doc_string="model\nnotes",
    )
    model.opset_import.add(domain="", version=21)
    model.opset_import.add(domain="org.example", version=3)
    _entries(model.metadata_props, "model")
    _training(model.training_info.add())
    configuration = model.configuration.add(name="two", num_devices=2)
    configuration.device.extend(["a", "b"])
    _graph(model.graph)
    return model


def _entries(target, key: str) -> None:
    target.add(key=f"{key}.labels", value="cat\ndog")
    target.add(key=f"{key}.empty", value="")


def _training(info: onnx.TrainingInfoProto) -> None:
    info.initialization.name = "init"
    info.algorithm.name = "step"
    info.algorithm.initializer.append(numpy_helper.from_array(np.ones(2, np.float32), "rate"))
    info.initialization_binding.add(key="w", value="w0")
    info.update_binding.add(key="w", value="w1")


def _graph(graph: onnx.GraphProto) -> None:
    graph.name, graph.doc_string = "main", "graph notes"
    _entries(graph.metadata_props, "graph")
    annotation = graph.quantization_annotation.add(tensor_name="w")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="scale")
    _inputs(graph)
    _initializers(graph)
    _nodes(graph)
    graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4], doc_string="result"))
    graph.output.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, None, doc_string="an input passed on"))
    graph.output.append(helper.make_tensor_value_info("scale", TensorProto.FLOAT, [], doc_string="a weight as output"))
    graph.value_info.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, ["N", None], doc_string="inner"))
    graph.value_info.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 4]))
    graph.value_info.append(helper.make_tensor_value_info("nobody", TensorProto.FLOAT, [9], doc_string="of no value"))
    graph.value_info.append(onnx.ValueInfoProto(name="odd", doc_string="without a type"))
    graph.value_info[0].type.denotation = "TENSOR"


def _inputs(graph: onnx.GraphProto) -> None:
    x = helper.make_tensor_value_info(
        "x", TensorProto.FLOAT, ["N", 4], doc_string="picture", shape_denotation=["B", "C"]
    )
    x.type.denotation = "IMAGE"
    _entries(x.metadata_props, "input")
    tensor = helper.make_tensor_type_proto(TensorProto.FLOAT, ["N", None])
    graph.input.extend(
        [
            x,
            helper.make_tensor_value_info("given", TensorProto.FLOAT, [2], doc_string="has a default"),
            helper.make_tensor_value_info("cond", TensorProto.BOOL, []),
            helper.make_value_info("list", helper.make_sequence_type_proto(tensor), "a sequence"),
            helper.make_value_info("maybe", helper.make_optional_type_proto(tensor), "an optional"),
            helper.make_value_info("table", helper.make_map_type_proto(TensorProto.STRING, tensor), "a map"),
            helper.make_sparse_tensor_value_info("thin", TensorProto.FLOAT, ["N", 3], doc_string="a sparse input"),
            onnx.ValueInfoProto(name="untyped", doc_string="no type at all"),
        ]
    )


def _initializers(graph: onnx.GraphProto) -> None:
    w = numpy_helper.from_array(np.arange(16, dtype=np.float32).reshape(4, 4), "w")
    w.doc_string = "weight"
    _entries(w.metadata_props, "tensor")
    graph.initializer.append(w)
    graph.initializer.append(numpy_helper.from_array(np.float32(0.5), "scale"))
    graph.initializer.append(numpy_helper.from_array(np.zeros(2, np.float32), "given"))
    graph.initializer.append(numpy_helper.from_array(np.zeros((0, 3), np.float32), "empty"))
    graph.initializer.append(numpy_helper.from_array(np.array(["é", "b"], object), "text"))
    graph.initializer.extend(
        [
            helper.make_tensor("f32", TensorProto.FLOAT, [2], [1.5, float("nan")]),
            helper.make_tensor("f64", TensorProto.DOUBLE, [2], [-0.0, 1e300]),
            helper.make_tensor("f16", TensorProto.FLOAT16, [3], [1.0, 2.5, float("inf")]),
            helper.make_tensor("bf16", TensorProto.BFLOAT16, [2], [1.0, -3.0]),
            helper.make_tensor("f8", TensorProto.FLOAT8E4M3FN, [2], [0.5, -2.0]),
            helper.make_tensor("f4", TensorProto.FLOAT4E2M1, [3], [0.5, -2.0, 6.0]),
            helper.make_tensor("i4", TensorProto.INT4, [3], [-8, 7, 1]),
            helper.make_tensor("u4", TensorProto.UINT4, [5], [0, 15, 3, 4, 5]),
            helper.make_tensor("i8", TensorProto.INT8, [2], [-128, 127]),
            helper.make_tensor("i64", TensorProto.INT64, [1], [-(1 << 60)]),
            helper.make_tensor("u64", TensorProto.UINT64, [1], [(1 << 64) - 1]),
            helper.make_tensor("c64", TensorProto.COMPLEX64, [1], [1 + 2j]),
            helper.make_tensor("b", TensorProto.BOOL, [2], [True, False]),
            helper.make_tensor("twin", TensorProto.FLOAT, [2], [1.5, float("nan")]),
        ]
    )
    graph.sparse_initializer.append(sparse("sparse", [3, 4], [1.0, 2.0], [2, 11]))
    graph.sparse_initializer.append(sparse("sparse2", [3, 4], [1.0, 2.0], [[0, 2], [2, 3]]))


def sparse(name: str, dims: list[int], values: list[float], indices: list) -> onnx.SparseTensorProto:
    return helper.make_sparse_tensor(
        numpy_helper.from_array(np.array(values, np.float32), name),
        numpy_helper.from_array(np.array(indices, np.int64), f"{name}.indices"),
        dims,
    )


def _nodes(graph: onnx.GraphProto) -> None:
    first = graph.node.add(op_type="Gemm", name="fc", domain="", doc_string="a layer", overload="second")
    first.input.extend(["x", "w", ""])
    first.output.extend(["h", ""])
    _entries(first.metadata_props, "node")
    device = first.device_configurations.add(configuration_id="two", pipeline_stage=1)
    spec = device.sharding_spec.add(tensor_name="w")
    spec.device.extend([0, 1])
    group = spec.index_to_device_group_map.add(key=-1)
    group.value.extend([0, 1])
    dim = spec.sharded_dim.add(axis=0)
    dim.simple_sharding.add(dim_value=4, num_shards=2)
    dim.simple_sharding.add(dim_param="N", num_shards=2)
    first.attribute.append(helper.make_attribute("alpha", 0.1, doc_string="about alpha"))
    graph.node.append(helper.make_node("If", ["cond"], ["z"], **_branches()))
    odd = graph.node.add(op_type="Everything", domain="org.example")
    odd.input.extend(["h", "z", "sparse", "text"])
    odd.output.append("y")
    odd.attribute.extend(_attributes())


def _branches() -> dict[str, onnx.GraphProto]:
    inner = helper.make_graph(
        [helper.make_node("Add", ["h", "inner_w"], ["deep"], name="reads around it")],
        "inner",
        [],
        [helper.make_tensor_value_info("deep", TensorProto.FLOAT, None, doc_string="deep down")],
        [numpy_helper.from_array(np.ones(4, np.float32), "inner_w")],
        doc_string="a body in a body",
        value_info=[helper.make_tensor_value_info("inner_w", TensorProto.FLOAT, [4], doc_string="inner weight")],
    )
    return {
        "then_branch": helper.make_graph(
            [helper.make_node("If", ["cond"], ["a"], then_branch=inner, else_branch=inner)],
            "then",
            [],
            [helper.make_tensor_value_info("a", TensorProto.FLOAT, None)],
        ),
        "else_branch": helper.make_graph(
            [helper.make_node("Identity", ["w"], ["c"])],
            "else",
            [],
            [helper.make_tensor_value_info("c", TensorProto.FLOAT, ["?", 4])],
            sparse_initializer=[sparse("body_sparse", [2], [1.0], [0])],
        ),
    }


def _attributes() -> list[onnx.AttributeProto]:
    tensor = numpy_helper.from_array(np.ones((2, 2), np.float32), "in attribute")
    body = helper.make_graph([helper.make_node("Neg", ["x"], ["n"])], "listed", [], [onnx.ValueInfoProto(name="n")])
    thin = sparse("thin", [4], [1.0], [0])
    type_proto = helper.make_tensor_type_proto(TensorProto.FLOAT, [1, "K"])
    made = [
        helper.make_attribute("f", 1.0e-5),
        helper.make_attribute("i", -3),
        helper.make_attribute("s", "text"),
        helper.make_attribute("raw", b"\xff\xfe\x00"),
        helper.make_attribute("t", tensor),
        helper.make_attribute("g", body, doc_string="about g"),
        helper.make_attribute("sparse_tensor", thin),
        helper.make_attribute("tp", type_proto),
        helper.make_attribute("floats", [0.25, 0.1]),
        helper.make_attribute("ints", [1, 2]),
        helper.make_attribute("strings", ["a", b"\xff"]),
        helper.make_attribute("tensors", [tensor, tensor]),
        helper.make_attribute("graphs", [body, body]),
        helper.make_attribute("sparse_tensors", [thin]),
        helper.make_attribute("type_protos", [type_proto]),
    ]
    for kind in ("FLOATS", "INTS", "STRINGS", "TENSORS", "GRAPHS"):
        made.append(AttributeProto(name=f"no_{kind}", type=getattr(AttributeProto, kind)))
    return made


def unset_fields(model: onnx.ModelProto) -> set[str]:
    """Full names of the fields of ONNX's messages that no message in `model` sets."""
    declared = {
        field.full_name
        for message in _message_types(model.DESCRIPTOR)
        for field in message.fields
        if not field.full_name.startswith("onnx.FunctionProto.")
    }
    return declared - {field.full_name for message in _messages(model) for field, _ in message.ListFields()}


def _message_types(root) -> list:
    found = [root]
    for message in found:
        for field in message.fields:
            if field.message_type is not None and field.message_type not in found:
                found.append(field.message_type)
    return found


def _messages(message: Message) -> Iterator[Message]:
    yield message
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for item in value if not isinstance(value, Message) else [value]:
            yield from _messages(item)
