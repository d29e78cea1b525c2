"""The examination of a result: it finds every kind of fault, and the error is the right number."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_compress.compiler.zoo import measure as measuring
from onnx_compress.compiler.zoo.manifest import Draw, ZooEntry
from onnx_compress.compiler.zoo.measure import measure, samples
from onnx_compress.compiler.zoo.trial import FAILED, OK

ENTRY = ZooEntry(
    name="toy", source="file", licence="", framework="", covers="", dynamic_batch=True,
    inputs={"x": Draw(shape=("B", 2)), "s": Draw(shape=(2, "B", 3)), "r": Draw(shape=(), draw="constant", value=2)},
)  # fmt: skip
GOOD = """
<ir_version: 10, opset_import: ["" : 17]>
g (float[N,2] x, float[2,N,3] s, int64 r) => (float[N,2] y) <float[2,2] w = {W}>
{
  p = MatMul (x, w)  f = Cast <to = 1> (r)  q = Mul (p, f)
  t = ReduceMax <keepdims = 0> (s)  z = Sub (t, t)  y = Add (q, z)
}
"""


def written(tmp_path, name, text=GOOD, weights="1, 0, 0, 1"):
    path = tmp_path / f"{name}.onnx"
    onnx.save(onnx.parser.parse_model(text.replace("W}", weights + "}")), path)
    return path


def test_samples_are_along_axis_0_which_whole_inputs_get_too(tmp_path):
    drawn = samples(ENTRY, written(tmp_path, "a"))
    count = ENTRY.samples
    assert {k: v.shape for k, v in drawn.items()} == {"x": (count, 2), "s": (count, 2, 1, 3), "r": (count,)}
    assert drawn["r"].dtype == np.int64
    assert np.all(drawn["r"] == 2)


def test_the_error_is_one_minus_cosine(tmp_path):
    one, turned = written(tmp_path, "a"), written(tmp_path, "b", weights="0.8, 0.6, -0.6, 0.8")
    assert measuring._examine(ENTRY, one, one) == measuring._Examined((), 0.0)
    found = measuring._examine(ENTRY, one, turned)
    assert found.problems == ()
    assert found.error == pytest.approx(0.2, abs=1e-4), "a rotation by arccos 0.8"


def test_an_exact_pipeline_may_not_change_outputs(tmp_path):
    one, other = written(tmp_path, "a"), written(tmp_path, "b", weights="1, 0, 0.0001, 1")
    assert measuring._examine(ENTRY, one, other).problems == ()
    (said,) = measuring._examine(ENTRY, one, other, is_exact=True).problems
    assert "an exact pipeline changed the outputs" in said


@pytest.mark.parametrize(
    ("text", "weights", "problem"),
    [
        (GOOD.replace("float[N,2] y", "float[M,2] y"), "1, 0, 0, 1", "the signature differs from the original's"),
        (GOOD.replace("Mul (p, f)", "Div (p, z)"), "1, 0, 0, 1", "output 'y' is not finite"),
        (GOOD.replace("Add (q, z)", "ReduceMean <axes = [0]> (q)"), "1, 0, 0, 1", "output 'y' has shape (1, 2)"),
    ],
)
def test_faults_of_a_result_are_found(tmp_path, text, weights, problem):
    found = measuring._examine(ENTRY, written(tmp_path, "a"), written(tmp_path, "b", text, weights))
    assert any(problem in said for said in found.problems)
    assert found.error is None


def test_a_pipeline_is_measured_and_a_broken_model_is_a_failed_trial(tmp_path):
    trial = measure(ENTRY, written(tmp_path, "a"), "simplify", tmp_path)
    assert (trial.status, trial.problems, trial.error) == (OK, (), 0.0)
    assert 0 < trial.bytes <= 1.0
    (tmp_path / "b.onnx").write_text("no model")
    broken = measure(ENTRY, tmp_path / "b.onnx", "simplify", tmp_path)
    assert broken.status == FAILED
    assert "not an ONNX model" in broken.problems[0]
