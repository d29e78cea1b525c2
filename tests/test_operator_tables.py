"""Operators are listed in compiler/ir/ops.py; elsewhere stand rules for them, and choices of a single pass."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from onnx_compress.compiler.ir import ops
from tests.test_layers import trees

HOME = Path("compiler/ir/ops.py")
RULES = {
    "compiler/analysis/channels/integers.py": "_RULES: how whole numbers that say shapes are computed",
    "compiler/analysis/channels/rules/control.py": "RULES: how bodies carry channels",
    "compiler/analysis/channels/rules/elementwise.py": "RULES: how operators carry channels",
    "compiler/analysis/channels/rules/layout.py": "RULES: how operators carry channels",
    "compiler/analysis/channels/rules/norms.py": "RULES: how operators carry channels",
    "compiler/analysis/channels/rules/products.py": "RULES: how operators carry channels",
    "compiler/analysis/channels/rules/recurrent.py": "RULES: how operators carry channels",
    "compiler/analysis/channels/rules/selection.py": "RULES: how operators carry channels",
    "compiler/analysis/constants.py": "_RULES: how constant channels are carried",
    "compiler/analysis/contractions.py": "_LAYOUTS: which axis of a weight is which",
    "compiler/analysis/macs.py": "FORMULAS: multiply-accumulates",
    "compiler/repair/refittable_layers.py": "LAYERS: how layers are recognized that least squares can solve for",
    "compiler/storage/interpret.py": "_OPERATORS: how programs that decode weights are run",
    "compiler/storage/recognition.py": "_OPS: the attributes of operators that decode weights",
    "compiler/storage/container/vocabulary.py": "_OPERATORS: words of the file format, whose order must not change",
    "passes/quantize/_int8/regions.py": "ARITHMETIC: the operators without weights that the pass computes in integers",
    "passes/simplify/_analysis/affine_plans.py": "PLANS: how a scale and a shift go into layers",
    "passes/simplify/_analysis/known_values.py": "_HANDLERS: how shapes are computed at compile time",
    "passes/simplify/_rules/remove_identities.py": "_SOURCES: when an operator does nothing",
}
"""Files with one table by operator, its name, and what it holds besides facts of the operators."""
FEW = 4
"""Operators that a condition may name at most."""

NAMES = {name.split(".")[-1] for group, _ in ops.ENTRIES for name in group.split()} | {
    schema.name for schema in onnx.defs.get_all_schemas()
}


def named(node: ast.AST) -> list[str]:
    """The operators named in strings within an expression, also several in one string."""
    texts = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return [word for text in texts if NAMES.issuperset(text.split()) for word in text.split()]


def tables(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Names and lines of the constants of modules and classes that name more than one operator."""
    bodies = [tree.body, *(node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef))]
    for statement in (statement for body in bodies for statement in body):
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
            target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
            if len(set(named(statement.value))) > 1:
                yield ast.unparse(target), statement.lineno


def long_conditions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """What functions compare an operator with, where that is a long list."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for node in (node for function in functions for node in ast.walk(function)):
        is_question = isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "is_op"
        parts = node.args if is_question else getattr(node, "elts", ())
        if len(parts) > FEW and sum(getattr(part, "value", None) in NAMES for part in parts) > FEW:
            yield ast.unparse(node)[:60], node.lineno


def code() -> dict[str, ast.Module]:
    return {str(p): tree for p, tree in trees().items() if p.parts[0] in ("compiler", "passes") and p != HOME}


def test_no_other_file_lists_operators():
    faults = []
    for path, tree in code().items():
        allowed = RULES.get(path, "").partition(":")[0]
        faults += [f"{path}:{line}: {name}" for name, line in tables(tree) if name != allowed]
        faults += [f"{path}:{line}: {text}" for text, line in long_conditions(tree)]
    assert not faults, "state it in compiler/ir/ops.py and ask there:\n" + "\n".join(faults)


def test_every_table_that_is_allowed_is_there():
    for path, text in RULES.items():
        assert text.partition(":")[0] in {name for name, _ in tables(code()[path])}, path


@pytest.mark.parametrize(
    "text",
    [
        'PASSING = ("Reshape", "Flatten")',
        'SLOTS: dict[str, int] = {"Conv": 1, "Gemm": 1}',
        '_UNARY = "Abs Relu Sigmoid".split()',
        'class A:\n    ops = frozenset({"QGemm", "Conv"})',
    ],
)
def test_a_planted_table_is_found(text):
    assert list(tables(ast.parse(text)))


def test_a_planted_long_condition_is_found():
    text = 'def f(node):\n    return node.is_op("Abs", "Relu", "Tanh", "Elu", "Selu")'
    assert list(long_conditions(ast.parse(text)))


@pytest.mark.parametrize(
    "text", ['A = ("Conv", "kernel")', 'B = "The Mean of all"', "C = ops.names(lambda op: op.adds)"]
)
def test_what_names_no_operators_is_none(text):
    assert not list(tables(ast.parse(text)))
