"""The byte sequences most common in graphs, as a zstandard dictionary: they make up most of a small model's graph.

The bytes are part of the file format: a change makes older files unreadable. The most common pieces are at the end,
where references to them are cheapest. Pieces are serialized as in protobuf, preceded by a key and a length.
"""

from __future__ import annotations

_OP, _ATTRIBUTE = b'"', b"*"
_INT, _INTS, _FLOAT = b"\xa0\x01\x02", b"\xa0\x01\x07", b"\xa0\x01\x01"
"""The type field that ends an attribute."""


def _text(key: bytes, text: str) -> bytes:
    return key + bytes([len(text)]) + text.encode()


def _list(name: str, *values: int) -> bytes:
    body = _text(b"\n", name) + b"".join(b"@" + bytes([value]) for value in values) + _INTS
    return _ATTRIBUTE + bytes([len(body)]) + body


def _number(name: str, value: int) -> bytes:
    body = _text(b"\n", name) + b"\x18" + bytes([value]) + _INT
    return _ATTRIBUTE + bytes([len(body)]) + body


def _shape(kind: int, name: str, *dims: int | str) -> bytes:
    """A value with its type: float32 of a given shape."""
    entries = [_text(b"\x12", dim) if isinstance(dim, str) else b"\x08" + bytes([dim]) for dim in dims]
    shape = b"".join(b"\n" + bytes([len(entry)]) + entry for entry in entries)
    tensor = b"\x08\x01\x12" + bytes([len(shape)]) + shape
    body = _text(b"\n", name) + b"\x12" + bytes([len(tensor) + 2]) + b"\n" + bytes([len(tensor)]) + tensor
    return bytes([kind, len(body)]) + body


def _tensor(name: str, *dims: int) -> bytes:
    """An initializer without its data."""
    body = b"".join(b"\x08" + bytes([dim]) for dim in dims) + b"\x10\x01" + _text(b"B", name) + b"J\x00"
    return b"*" + bytes([len(body)]) + body


_GRAPH_INPUT, _GRAPH_OUTPUT, _VALUE = 0x5A, 0x62, 0x6A
_RARE = (
    "Einsum InstanceNormalization GroupNormalization ScatterElements ScatterND GatherElements GatherND NonZero "
    "TopK CumSum Trilu Loop Scan If SequenceAt Mod Sign Round Ceil Floor Range OneHot Tile EyeLike "
    "RandomNormalLike Softplus Mish Elu Selu Celu HardSwish HardSigmoid PRelu LeakyRelu ArgMax ArgMin ReduceMax "
    "ReduceMin ReduceSum ReduceL2 ReduceProd Sin Cos Exp Log Abs Neg Greater Less LessOrEqual GreaterOrEqual "
    "Equal And Or Not Where Min Max LSTM GRU RNN ConvTranspose AveragePool GlobalMaxPool LpPool DepthToSpace "
    "SpaceToDepth Upsample Resize Pad Expand ConstantOfShape Shape Size DynamicQuantizeLinear QLinearConv "
    "QLinearMatMul ConvInteger MatMulInteger MatMulNBits com.microsoft ai.onnx.ml QuantizeLinear DequantizeLinear "
    "LayerNormalization Attention RotaryEmbedding SkipLayerNormalization hidden_size direction bidirectional "
    "forward reverse linear_before_reset activation_alpha coordinate_transformation_mode half_pixel asymmetric "
    "align_corners pytorch_half_pixel cubic_coeff_a nearest_mode nearest floor linear cubic mode constant reflect "
    "edge auto_pad SAME_UPPER SAME_LOWER VALID NOTSET ceil_mode count_include_pad storage_order output_padding "
    "output_shape approximate tanh none noop_with_empty_axes keepdims select_last_index exclusive largest sorted "
    "training_mode momentum epsilon alpha beta gamma min max value value_int value_ints then_branch else_branch "
    "body block_size embeddings token_type position word_embeddings attention query key value out_proj in_proj "
    "self_attn encoder decoder layer mlp fc1 fc2 norm1 norm2 ln_1 ln_2 proj qkv head backbone neck stem features "
    "classifier downsample shortcut bn1 bn2 bn3 running_mean running_var num_batches_tracked weight_quantized "
    "zero_point scale x_scale x_zero_point input_ids attention_mask last_hidden_state main_graph torch_jit graph "
    "model author description license version classes names labels task stride batch imgsz preprocess mean std "
    "RGB BGR NCHW NHWC uint8 float32 int64 / 255 batch_size sequence_length height width channels"
)
_OPERATORS = (
    "Constant Identity Unsqueeze Squeeze Gather Slice Split Concat Transpose Reshape Cast Dropout Pow Sqrt Div "
    "Sub Erf Gelu Tanh Sigmoid Softmax LogSoftmax ReduceMean Clip BatchNormalization GlobalAveragePool MaxPool "
    "Mul Add MatMul Flatten Gemm Relu Conv"
)

VOCABULARY = b"".join(
    (
        _RARE.encode(),
        b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:\x08\x0a\x12\x07pytorch\x1a\x062.10.0:\x08\x07\x12\x0donnx-compress:",
        b"\x08\x0a\x12\x0cbackend-test:\x08\x06\x12\x07tf2onnx\x1a\x051.9.3:\x08\x09\x12\x08skl2onnx\x1a\x041.16:",
        _text(_ATTRIBUTE + b"\x11\n", "epsilon"),
        b"\x15\xac\xc5'7" + _FLOAT + b"*\x14\n\x08momentum\x15fff?" + _FLOAT,
        *(_number("axis", value) for value in (0, 2, 1)),
        _number("keepdims", 0) + _number("keepdims", 1) + _number("to", 7) + _number("to", 1),
        _number("ceil_mode", 0),
        _list("axes", 1)
        + _list("perm", 0, 2, 3, 1)
        + _list("perm", 0, 3, 1, 2)
        + _list("perm", 1, 0)
        + _list("perm", 0, 2, 1, 3),
        b"*\x0f\n\x05alpha\x15\x00\x00\x80?" + _FLOAT + b"*\x0e\n\x04beta\x15\x00\x00\x80?" + _FLOAT,
        b"/layer1/layer1.0/conv1/Conv_output_0/layer2/layer2.1/Relu_1_output_0/layer3/layer3.0/downsample/downsample.0/Conv",
        b"/features/features.0/Conv_output_0/classifier/classifier.1/Gemm_output_0/MatMul_output_0/Add_output_0/Mul_output_0",
        b"/Constant_1_output_0/Reshape_output_0/Transpose_output_0onnx::MatMul_onnx::Add_onnx::Mul_onnx::Conv_",
        *(_text(_OP, name) for name in _OPERATORS.split()),
        b"\n\x0clinear.weight\n\x0blinear.bias\n\x09fc.weight\n\x07fc.bias\n\x0afc1.weight\n\x08fc1.bias\x12\x03fc1",
        _number("group", 1) + _list("dilations", 1, 1) + _list("kernel_shape", 1, 1) + _list("kernel_shape", 7, 7),
        _list("pads", 0, 0, 0, 0) + _list("pads", 3, 3, 3, 3) + _list("pads", 2, 2, 2, 2) + _list("strides", 1, 1),
        b'"\x07MaxPool' + _list("kernel_shape", 2, 2) + _list("strides", 2, 2),
        b'\x12\x04bn1"\x12BatchNormalization\n\x10conv2.weight\n\x0econv2.bias',
        b"\n\x0cconv1.weight\n\nconv1.bias\x12\x05conv1\x1a\x05conv1",
        b'"\x04Conv' + _list("dilations", 1, 1) + _number("group", 1) + _list("kernel_shape", 3, 3),
        _list("pads", 1, 1, 1, 1) + _list("strides", 1, 1),
        b'\x12\x07flatten\x1a\x07flatten"\x07Flatten\x12\x04relu\x1a\x04relu"\x04Relu',
        b'\x1a\x02fc"\x04Gemm' + _number("transB", 1),
        _tensor("conv1.weight", 16, 3, 3, 3)
        + _tensor("conv1.bias", 16)
        + _tensor("fc.weight", 10, 64)
        + _tensor("fc.bias", 10),
        _shape(_GRAPH_INPUT, "x", "batch", 3, 32, 32)
        + _shape(_GRAPH_INPUT, "image", "N", 1, 28, 28)
        + _shape(_GRAPH_INPUT, "input", "N", 3),
        _shape(_GRAPH_OUTPUT, "y", "batch", 10)
        + _shape(_GRAPH_OUTPUT, "output", "N", 10)
        + _shape(_GRAPH_OUTPUT, "logits", "N", 10),
        _shape(_VALUE, "relu", "N", 16, 8, 8) + _shape(_VALUE, "relu1", "N", 64),
        b"B\x04\n\x00\x10\x0dB\x04\n\x00\x10\x15B\x02\x10\x12B\x02\x10\x11B\x04\n\x00\x10\x11r",
    )
)
