"""Facts about operators, true in any model: one entry per operator. No other file lists operators.

Operators are named as in files: "Conv", or with their domain if it is not ONNX's own: "com.microsoft.QGemm". `of(node)`
returns the facts of a node's operator, `names(test)` the operators that pass a test. Slots are positions of inputs. An
operator without an entry has no known facts. Rules, formulas and the choices of a single pass stay where they are used.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from onnx_compress.compiler.ir.graph import Node

Slots = tuple[int, ...]


class Family(enum.Enum):
    """What an operator computes."""

    UNARY = "each element from one element of the first input; other inputs are scalars or give a type"
    BROADCAST = "each element from the elements at its place in all inputs, with NumPy's broadcasting"
    CONVOLUTION = "sums over channels and the taps of a kernel"
    PRODUCT = "sums over an axis that two matrices share"
    RECURRENT = "a state, updated step by step"
    NORMALIZATION = "shifts and scales along an axis or per channel"
    POOL = "one number per window of a channel"
    REDUCTION = "one number for whole axes"
    QUANTIZATION = "integers for floats, or floats for integers"
    OTHER = "anything else"


class Movement(enum.Enum):
    """Which elements of the first input the first output holds; it holds no others up to REPEATS."""

    STAYS = "all, in place"
    RESHAPES = "all, in the same order, in another shape"
    PERMUTES = "all, each once, in another order"
    SELECTS = "some, each at most once"
    REPEATS = "some, each any number of times"
    FILLS = "some, and a fixed value"
    INTERPOLATES = "some, and values between them"


@dataclass(frozen=True, kw_only=True)
class Operator:
    """The facts about one operator."""

    family: Family = Family.OTHER
    movement: Movement | None = None
    converts: bool = False
    """Elements change their type."""
    weights: Slots = ()
    """Inputs that may be weights: a matrix, a kernel or a table."""
    biases: Slots = ()
    """Inputs that are added per channel of the result."""
    scales: Slots = ()
    """Scales and zero points, which define the integers at other slots or in the result."""
    positive: Slots = ()
    """Other inputs that are never negative: variances."""
    sizes: Slots = ()
    """Integers that are sizes or bounds, which are often computed from the shape of another tensor."""
    indices: Slots = ()
    """Integers that number positions or steps."""
    channel_axis: int | None = None
    """The axis of the channels in the first output, if it is always the same."""
    gates: int = 0
    """Number of matrices stacked in each weight of a recurrent operator."""
    is_activation: bool = False
    """A nonlinearity that follows layers, with a slope of about one or less."""
    is_idempotent: bool = False
    """Applying it twice equals applying it once."""
    is_random: bool = False
    """The result is random, or can be."""
    adds: bool = False
    """The result is the sum of the inputs."""
    keeps_constants: bool = False
    """Equal elements give the same value again, apart from padding."""
    keeps_zeros: bool = False
    """Zeros give zeros."""

    @property
    def is_elementwise(self) -> bool:
        """Whether each element of the result depends only on the elements at its place."""
        return self.family in (Family.UNARY, Family.BROADCAST)

    @property
    def contracts(self) -> bool:
        """Whether it sums over channels, multiplied by a weight or by another value."""
        return self.family in (Family.CONVOLUTION, Family.PRODUCT, Family.RECURRENT)

    @property
    def keeps_elements(self) -> bool:
        """Whether the result holds each element of the first input once, perhaps in another type."""
        return self.movement in (Movement.STAYS, Movement.RESHAPES, Movement.PERMUTES)

    @property
    def keeps_values(self) -> bool:
        """Whether the result holds only elements of the first input, perhaps in another type."""
        return self.keeps_elements or self.movement in (Movement.SELECTS, Movement.REPEATS)

    @property
    def is_bounded(self) -> bool:
        """Whether the result has at most as many elements as the first input."""
        return self.keeps_elements or self.movement is Movement.SELECTS

    @property
    def is_quantized(self) -> bool:
        """Whether it reads or returns integers that represent floats."""
        return bool(self.scales) or self.family is Family.QUANTIZATION


UNKNOWN = Operator()


def key(node: Node) -> str:
    """The name of a node's operator, prefixed by its domain if that is not ONNX's own."""
    return node.op if node.is_standard else f"{node.domain}.{node.op}"


def of(node: Node) -> Operator:
    """The facts about a node's operator."""
    return _TABLE.get(key(node), UNKNOWN)


def named(op: str, domain: str = "") -> Operator:
    """The facts about an operator, by its name and domain."""
    return _TABLE.get(op if domain in ("", "ai.onnx") else f"{domain}.{op}", UNKNOWN)


def names(test: Callable[[Operator], bool]) -> tuple[str, ...]:
    """The operators that pass the test, in the order of the table."""
    return tuple(name for name, operator in _TABLE.items() if test(operator))


ENTRIES: tuple[tuple[str, Operator], ...] = (
    # Element by element
    (
        "Acos Acosh Asin Asinh Atan Atanh BitwiseNot Cos Cosh Erf Exp IsInf IsNaN Log Neg Not Reciprocal Shrink Sin "
        "Sinh Sqrt Tan",
        Operator(family=Family.UNARY),
    ),
    (
        "Celu Elu Gelu HardSigmoid HardSwish LeakyRelu Mish Selu Sigmoid Softplus Softsign Swish Tanh "
        "com.microsoft.Gelu com.microsoft.QuickGelu",
        Operator(family=Family.UNARY, is_activation=True),
    ),
    ("Clip Relu ThresholdedRelu", Operator(family=Family.UNARY, is_activation=True, is_idempotent=True)),
    ("Abs Ceil Floor Round Sign", Operator(family=Family.UNARY, is_idempotent=True)),
    ("Identity", Operator(family=Family.UNARY, movement=Movement.STAYS, is_idempotent=True)),
    ("Dropout", Operator(family=Family.UNARY, movement=Movement.STAYS, is_random=True)),
    ("Cast CastLike", Operator(family=Family.UNARY, movement=Movement.STAYS, converts=True)),
    ("PRelu", Operator(family=Family.BROADCAST, is_activation=True)),
    ("Add Sum", Operator(family=Family.BROADCAST, adds=True)),
    (
        "And BitShift BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min "
        "Mod Mul Or Pow Sub Where Xor",
        Operator(family=Family.BROADCAST),
    ),
    # Moving data
    ("Reshape", Operator(movement=Movement.RESHAPES, sizes=(1,))),
    ("Flatten Squeeze Unsqueeze", Operator(movement=Movement.RESHAPES)),
    ("Transpose", Operator(movement=Movement.PERMUTES)),
    ("DepthToSpace SpaceToDepth", Operator(movement=Movement.PERMUTES, channel_axis=1)),
    ("ReverseSequence", Operator(movement=Movement.PERMUTES, indices=(1,))),
    ("Slice", Operator(movement=Movement.SELECTS, sizes=(1, 2))),
    ("Split TopK", Operator(movement=Movement.SELECTS, sizes=(1,))),
    ("Compress Unique", Operator(movement=Movement.SELECTS)),
    ("Gather", Operator(movement=Movement.REPEATS, weights=(0,), indices=(1,))),
    ("GatherElements GatherND", Operator(movement=Movement.REPEATS, indices=(1,))),
    ("Expand Tile", Operator(movement=Movement.REPEATS, sizes=(1,))),
    ("Pad CenterCropPad", Operator(movement=Movement.FILLS, sizes=(1,))),
    ("Trilu", Operator(movement=Movement.FILLS)),
    ("Resize", Operator(movement=Movement.INTERPOLATES, sizes=(3,))),
    ("Upsample", Operator(movement=Movement.INTERPOLATES)),
    # Layers
    (
        "Conv ConvTranspose com.microsoft.FusedConv",
        Operator(family=Family.CONVOLUTION, weights=(1,), biases=(2,), channel_axis=1),
    ),
    ("DeformConv", Operator(family=Family.CONVOLUTION, weights=(1,), biases=(3,), channel_axis=1)),
    (
        "Gemm com.microsoft.FusedGemm",
        Operator(family=Family.PRODUCT, weights=(0, 1), biases=(2,), channel_axis=-1),
    ),
    ("MatMul com.microsoft.FusedMatMul", Operator(family=Family.PRODUCT, weights=(0, 1), channel_axis=-1)),
    ("Einsum", Operator(family=Family.PRODUCT)),
    (
        "LSTM",
        Operator(family=Family.RECURRENT, gates=4, weights=(1, 2), biases=(3,), indices=(4,), channel_axis=-1),
    ),
    (
        "GRU",
        Operator(family=Family.RECURRENT, gates=3, weights=(1, 2), biases=(3,), indices=(4,), channel_axis=-1),
    ),
    (
        "RNN",
        Operator(family=Family.RECURRENT, gates=1, weights=(1, 2), biases=(3,), indices=(4,), channel_axis=-1),
    ),
    ("BatchNormalization", Operator(family=Family.NORMALIZATION, biases=(2,), positive=(4,), channel_axis=1)),
    (
        "InstanceNormalization GroupNormalization",
        Operator(family=Family.NORMALIZATION, biases=(2,), channel_axis=1),
    ),
    ("LRN MeanVarianceNormalization", Operator(family=Family.NORMALIZATION, channel_axis=1)),
    ("LayerNormalization", Operator(family=Family.NORMALIZATION, biases=(2,), channel_axis=-1)),
    (
        "RMSNormalization SimplifiedLayerNormalization",
        Operator(family=Family.NORMALIZATION, channel_axis=-1),
    ),
    ("Hardmax LogSoftmax LpNormalization Softmax", Operator(family=Family.NORMALIZATION)),
    (
        "MaxPool GlobalMaxPool",
        Operator(family=Family.POOL, movement=Movement.REPEATS, keeps_constants=True, keeps_zeros=True, channel_axis=1),
    ),
    (
        "AveragePool GlobalAveragePool",
        Operator(family=Family.POOL, keeps_constants=True, keeps_zeros=True, channel_axis=1),
    ),
    ("LpPool GlobalLpPool", Operator(family=Family.POOL, keeps_zeros=True, channel_axis=1)),
    (
        "ReduceMax ReduceMin",
        Operator(family=Family.REDUCTION, movement=Movement.REPEATS, keeps_constants=True, keeps_zeros=True),
    ),
    ("ReduceMean", Operator(family=Family.REDUCTION, keeps_constants=True, keeps_zeros=True)),
    (
        "ReduceL1 ReduceL2 ReduceProd ReduceSum ReduceSumSquare",
        Operator(family=Family.REDUCTION, keeps_zeros=True),
    ),
    ("ReduceLogSum ReduceLogSumExp", Operator(family=Family.REDUCTION)),
    # Integers that stand for floats
    (
        "QuantizeLinear DequantizeLinear com.microsoft.QuantizeLinear com.microsoft.DequantizeLinear",
        Operator(family=Family.QUANTIZATION, scales=(1, 2)),
    ),
    ("DynamicQuantizeLinear", Operator(family=Family.QUANTIZATION)),
    ("ConvInteger", Operator(family=Family.CONVOLUTION, weights=(1,), scales=(2, 3), channel_axis=1)),
    (
        "QLinearConv com.microsoft.QLinearConv",
        Operator(family=Family.CONVOLUTION, weights=(3,), biases=(8,), scales=(1, 2, 4, 5, 6, 7), channel_axis=1),
    ),
    ("MatMulInteger", Operator(family=Family.PRODUCT, weights=(0, 1), scales=(2, 3), channel_axis=-1)),
    (
        "QLinearMatMul",
        Operator(family=Family.PRODUCT, weights=(0, 3), scales=(1, 2, 4, 5, 6, 7), channel_axis=-1),
    ),
    (
        "com.microsoft.QGemm",
        Operator(family=Family.PRODUCT, weights=(0, 3), biases=(6,), scales=(1, 2, 4, 5, 7, 8), channel_axis=-1),
    ),
    (
        "com.microsoft.DynamicQuantizeMatMul",
        Operator(family=Family.PRODUCT, weights=(0, 1), biases=(4,), scales=(2, 3), channel_axis=-1),
    ),
    (
        "com.microsoft.MatMulIntegerToFloat",
        Operator(family=Family.PRODUCT, weights=(0, 1), biases=(6,), scales=(2, 3, 4, 5), channel_axis=-1),
    ),
    (
        "com.microsoft.MatMulNBits",
        Operator(family=Family.PRODUCT, weights=(1,), biases=(5,), scales=(2, 3), indices=(4,), channel_axis=-1),
    ),
    ("com.microsoft.GatherBlockQuantized", Operator(weights=(0,), indices=(1,), scales=(2, 3))),
    (
        "com.microsoft.DynamicQuantizeLSTM",
        Operator(
            family=Family.RECURRENT,
            gates=4,
            weights=(1, 2),
            biases=(3,),
            indices=(4,),
            scales=(8, 9, 10, 11),
            channel_axis=-1,
        ),
    ),
    ("com.microsoft.QLinearAdd com.microsoft.QLinearMul", Operator(scales=(1, 2, 4, 5, 6, 7))),
    (
        "com.microsoft.QLinearAveragePool com.microsoft.QLinearGlobalAveragePool com.microsoft.QLinearLeakyRelu "
        "com.microsoft.QLinearReduceMean com.microsoft.QLinearSigmoid com.microsoft.QLinearSoftmax",
        Operator(scales=(1, 2, 3, 4)),
    ),
    ("com.microsoft.QLinearWhere", Operator(scales=(2, 3, 5, 6, 7, 8))),
    ("com.microsoft.QLinearConcat", Operator(scales=tuple(slot for slot in range(3 * 64 + 2) if slot % 3 != 2))),
    ("com.microsoft.QAttention", Operator(weights=(1,), biases=(2,), scales=(3, 4, 6, 7), indices=(5,))),
    (
        "com.microsoft.QMoE",
        Operator(weights=(2, 5, 8), biases=(4, 7, 10), scales=(3, 6, 9, 11, 12, 13, 15, 16, 17, 18, 19, 20)),
    ),
    # Others
    ("BlackmanWindow ConstantOfShape HammingWindow HannWindow", Operator(sizes=(0,))),
    ("AffineGrid DFT SplitToSequence", Operator(sizes=(1,))),
    ("OneHot", Operator(indices=(0,), sizes=(1,))),
    ("MaxUnpool", Operator(sizes=(2,))),
    ("Col2Im", Operator(sizes=(1, 2))),
    ("STFT", Operator(sizes=(1, 3))),
    ("Range", Operator(sizes=(0, 1, 2))),
    (
        "Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike",
        Operator(is_random=True),
    ),
)
"""Operators with the same facts share a line."""

_TABLE = {name: operator for group, operator in ENTRIES for name in group.split()}
