from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.runtime import session
from onnx_compress.compiler.runtime.evaluate import evaluate
from tests.compiler.runtime.nets import net

OPSETS = [helper.make_opsetid("", 21)]


def test_a_constant_part_of_a_graph() -> None:
    nodes = [
        helper.make_node("Cast", ["i"], ["wide"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "wide"], ["w"]),
        helper.make_node("Shape", ["w"], ["shape"]),
    ]
    graph = helper.make_graph(
        nodes,
        "part",
        [],
        [helper.make_empty_tensor_value_info("w"), helper.make_empty_tensor_value_info("shape")],
        [
            numpy_helper.from_array(np.array([[2, 0], [1, 1]], np.uint8), "i"),
            numpy_helper.from_array(np.array([1.5, 2.5, np.nan], np.float32), "table"),
        ],
    )
    found = evaluate(graph, opsets=OPSETS)
    np.testing.assert_array_equal(found["w"], np.array([[np.nan, 1.5], [2.5, 2.5]], np.float32))
    assert found["shape"].tolist() == [2, 2]


def test_feeds_replace_what_is_not_constant() -> None:
    model = net("g (string[2] s, float16 h) => (string[2] t, float16 k) { t = Identity (s) k = Neg (h) }")
    found = evaluate(model, {"s": np.array(["a", ""], object), "h": np.array(2, np.float16)})
    assert found["t"].tolist() == ["a", ""]
    assert found["k"] == np.float16(-2)
    assert found["k"].dtype == np.float16


def test_a_graph_that_onnxruntime_cannot_run() -> None:
    graph = helper.make_graph(
        [helper.make_node("Frob", [], ["y"], name="odd")], "g", [], [helper.make_empty_tensor_value_info("y")]
    )
    with pytest.raises(ModelError, match=r"node 'odd': opset .* has no operator Frob"):
        evaluate(graph, opsets=OPSETS)


def test_nodes_are_run_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def spy(model: object, **options: object) -> object:
        asked.append(options.get("optimize"))
        return session.create(model, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("onnx_compress.compiler.runtime.evaluate.create", spy)
    evaluate(net("g (float x) => (float y) { y = Neg (x) }"), {"x": np.float32(1)})
    assert asked == [False]
