from __future__ import annotations

import pytest

from onnx_compress.compiler import errors
from onnx_compress.compiler.errors import CompressError, PassError, UserError


@pytest.mark.parametrize("name", ["UsageError", "ModelError", "DataError", "OutputError"])
def test_an_error_that_the_user_can_fix_ends_with_2(name):
    kind = getattr(errors, name)
    assert issubclass(kind, UserError)
    assert kind("x").exit_status == 2


def test_a_fault_of_ours_ends_with_1_and_says_where():
    error = PassError("prune: broke", pass_name="prune:ratio=0.3", node="conv1", passes_before=("simplify",))
    assert isinstance(error, CompressError)
    assert not isinstance(error, UserError)
    assert error.exit_status == 1
    assert (error.pass_name, error.node, error.passes_before) == ("prune:ratio=0.3", "conv1", ("simplify",))
    assert error.last_good is None
