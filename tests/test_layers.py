"""The architecture as tests: who may import whom, how large things may be, and what stands only in one place."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests import mirror

ROOT = Path(__file__).parent.parent
PACKAGE = "onnx_compress"

LAYERS = (
    {"errors"},
    {"storage"},
    {"ir"},
    {"runtime"},
    {"analysis"},
    {"surgery"},
    {"repair"},
    {"budget"},
    {"pipeline"},
    {"report"},
    {"zoo"},
    {"cli"},
)
"""Parts of compiler/, each of which imports only itself and those before it."""

FILE_LINES, FUNCTION_LINES, PASS_LINES = 400, 50, 250

Check = Callable[[Path, ast.Module], Iterator[str]]
"""Takes a file's path below the root and its tree, and yields what is wrong with it."""


@dataclass(frozen=True)
class Import:
    """An imported module (`from a import b` gives `a.b` too, because b may be a module), and where."""

    module: str
    line: int
    is_relative: bool = False


def imports(tree: ast.Module) -> Iterator[Import]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield Import(node.module or "", node.lineno, node.level > 0)
            yield from (Import(f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and _is_import_call(node):
            yield Import(str(node.args[0].value), node.lineno)


def _is_import_call(node: ast.Call) -> bool:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    literal = bool(node.args) and isinstance(node.args[0], ast.Constant)
    return name in ("import_module", "__import__") and literal


def part(module: str) -> str | None:
    """The part of compiler/ that a module name lies in."""
    words = module.split(".")
    return words[2] if words[:2] == [PACKAGE, "compiler"] and len(words) > 2 else None


def level(name: str) -> int | None:
    return next((i for i, names in enumerate(LAYERS) if name in names), None)


def layering(path: Path, tree: ast.Module) -> Iterator[str]:
    if path.parts[0] != "compiler" or len(path.parts) < 2:
        return
    own = path.parts[1].removesuffix(".py")
    if own == "__init__":
        return
    if level(own) is None:
        yield f"'{own}' is not a layer of the compiler"
        return
    for found in imports(tree):
        other = part(found.module)
        if other is None or other == own or level(other) is None:
            continue
        if level(other) >= level(own):
            yield f"line {found.line}: {own} must not import {other}"


def passes_point_down(path: Path, tree: ast.Module) -> Iterator[str]:
    for found in imports(tree):
        words = found.module.split(".")
        if words[:2] != [PACKAGE, "passes"]:
            continue
        if path.parts[0] == "compiler":
            yield f"line {found.line}: the compiler must not import passes"
        elif path.parts[0] == "passes" and len(words) > 2 and words[2] != path.parts[1]:
            yield f"line {found.line}: family '{path.parts[1]}' must not import family '{words[2]}'"


HOMES = {
    "torch": ("passes/retrain", "passes/search", "models", "tests"),
    "onnxruntime": ("compiler/runtime", "passes/quantize", "models", "tests"),
}
"""Where a heavy library may be imported, and nowhere else."""


def heavy_libraries(path: Path, tree: ast.Module) -> Iterator[str]:
    for found in imports(tree):
        homes = HOMES.get(found.module.split(".")[0])
        if homes is not None and not any(path.is_relative_to(home) for home in homes):
            yield f"line {found.line}: {found.module} is only for {', '.join(homes)}"


def import_names(path: Path, tree: ast.Module) -> Iterator[str]:
    for found in imports(tree):
        if found.is_relative:
            yield f"line {found.line}: relative import"
        if found.module.split(".")[0] in ("compiler", "passes"):
            yield f"line {found.line}: '{found.module}' would be a second copy; write '{PACKAGE}.{found.module}'"
        if path.parts[0] in ("compiler", "passes") and found.module.split(".")[0] in ("models", "tests"):
            yield f"line {found.line}: {found.module} is not part of the distribution"


def sizes(path: Path, tree: ast.Module) -> Iterator[str]:
    length = len((ROOT / path).read_text().splitlines()) if (ROOT / path).exists() else _end(tree)
    is_pass = path.parts[0] == "passes" and not any(name.startswith("_") for name in path.parts)
    limit = PASS_LINES if is_pass else FILE_LINES
    if length > limit:
        yield f"{length} lines; {limit} are allowed"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and _length(node) > FUNCTION_LINES:
            yield f"line {node.lineno}: {node.name} has {_length(node)} lines; {FUNCTION_LINES} are allowed"


def _end(tree: ast.Module) -> int:
    return max((node.end_lineno or 0 for node in tree.body), default=0)


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def prints(path: Path, tree: ast.Module) -> Iterator[str]:
    if path.parts[0] not in ("compiler", "passes", PACKAGE) or path.is_relative_to("compiler/cli"):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print":
            yield f"line {node.lineno}: print outside compiler/cli"


def unsafe(path: Path, tree: ast.Module) -> Iterator[str]:
    if path.parts[0] not in ("compiler", "passes", PACKAGE):
        return
    for found in imports(tree):
        if found.module.split(".")[0] in ("pickle", "marshal", "shelve", "cloudpickle", "dill"):
            yield f"line {found.line}: {found.module} runs code from files"
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if getattr(node.func, "id", "") in ("eval", "exec"):
            yield f"line {node.lineno}: {node.func.id} runs code"
        if any(k.arg == "allow_pickle" and getattr(k.value, "value", None) is not False for k in node.keywords):
            yield f"line {node.lineno}: allow_pickle runs code from files"


def file_names(path: Path, tree: ast.Module) -> Iterator[str]:
    if path.stem.strip("_") in ("utils", "util", "helpers", "helper", "common", "misc"):
        yield "a file is named by what it holds"


NODE_FIELDS = ("op", "domain", "inputs", "outputs", "attrs", "header", "graph")
TENSOR_FIELDS = ("origin", "values", "structure", "dtype", "shape")
GRAPH_FIELDS = (*NODE_FIELDS, *TENSOR_FIELDS, "nodes", "initializers")
MUTATORS = ("append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse", "update", "setdefault")
SETTERS = ("values_set", "store_as", "share_structure")
"""Methods of constants that only the IR calls."""


def one_door(path: Path, tree: ast.Module) -> Iterator[str]:
    """Graphs are changed by compiler/ir alone; of their own fields, classes may call one like those of a graph."""
    if path.parts[0] not in ("compiler", "passes", PACKAGE) or path.is_relative_to("compiler/ir"):
        return
    for node in ast.walk(tree):
        for changed in map(_field, _changed(node)):
            if changed is not None and changed.attr in GRAPH_FIELDS and getattr(changed.value, "id", "") != "self":
                yield f"line {changed.lineno}: '{ast.unparse(changed)}' is changed outside compiler/ir"
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in SETTERS:
            yield f"line {node.lineno}: '{ast.unparse(node.func)}' is called outside compiler/ir"


def _field(changed: ast.expr) -> ast.Attribute | None:
    """The field that an expression is, or is an element of."""
    while isinstance(changed, (ast.Subscript, ast.Starred)):
        changed = changed.value
    return changed if isinstance(changed, ast.Attribute) else None


def _changed(node: ast.AST) -> Iterator[ast.expr]:
    """The expressions that a statement assigns or deletes, or whose method of a list, set or dict it calls."""
    if isinstance(node, (ast.Assign, ast.Delete)):
        for target in node.targets:
            yield from target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]
    elif isinstance(node, (ast.AugAssign, ast.AnnAssign, ast.For)):
        yield node.target
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
        yield node.func.value
    elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setattr" and len(node.args) == 3:
        name = node.args[1].value if isinstance(node.args[1], ast.Constant) else ""
        yield ast.copy_location(ast.Attribute(node.args[0], str(name)), node)


CHECKS: tuple[Check, ...] = (
    layering,
    passes_point_down,
    heavy_libraries,
    import_names,
    sizes,
    prints,
    unsafe,
    file_names,
    one_door,
)


def sources() -> list[Path]:
    folders = ("compiler", "passes", "models", "tests")
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted(path.relative_to(ROOT) for path in [*found, *(ROOT / PACKAGE).glob("*.py")])


@cache
def trees() -> dict[Path, ast.Module]:
    return {path: ast.parse((ROOT / path).read_text(encoding="utf-8"), str(path)) for path in sources()}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_file_keeps_the_rule(check):
    faults = []
    for path, tree in trees().items():
        faults += [f"{path}: {fault}" for fault in check(path, tree)]
    assert not faults, "\n" + "\n".join(faults)


def import_cycle(trees: Mapping[Path, ast.Module]) -> list[str]:
    """Modules each of which imports the next, at whatever level, and the last one the first; empty without any."""
    modules = {_module(path): tree for path, tree in trees.items()}
    graph = {name: {other for other in _modules(tree, modules) if other != name} for name, tree in modules.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def _module(path: Path) -> str:
    return ".".join([PACKAGE, *path.with_suffix("").parts]).removesuffix(".__init__")


def _modules(tree: ast.Module, known: Collection[str]) -> set[str]:
    """The modules that a file imports; of a package, what it takes from it where that is a module too."""
    found = {item.module for item in imports(tree) if item.module in known}
    return {name for name in found if not any(other.startswith(f"{name}.") for other in found)}


@pytest.mark.parametrize("part", ["compiler", "passes"])
def test_no_modules_import_each_other(part):
    assert not import_cycle({path: tree for path, tree in trees().items() if path.parts[0] == part})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (f"from {PACKAGE}.compiler.ir.b import x", f"import {PACKAGE}.compiler.ir.a"),
        (f"from {PACKAGE}.compiler.ir import b", f"def f():\n    from {PACKAGE}.compiler.ir.a import x"),
        (f"if TYPE_CHECKING:\n    from {PACKAGE}.compiler.ir.b import x", f"from {PACKAGE}.compiler.ir import a"),
    ],
)
def test_a_planted_cycle_is_found(first, second):
    planted = {Path("compiler/ir/a.py"): ast.parse(first), Path("compiler/ir/b.py"): ast.parse(second)}
    assert set(import_cycle(planted)) == {f"{PACKAGE}.compiler.ir.a", f"{PACKAGE}.compiler.ir.b"}
    assert not import_cycle({**planted, Path("compiler/ir/b.py"): ast.parse("import numpy")})


def test_every_module_has_a_test():
    cases = [path.relative_to(ROOT) for path in (ROOT / "tests").rglob("*.md")]
    assert not (found := list(mirror.faults({*sources(), *cases}))), "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("files", "without", "message"),
    [
        ("passes/a/_b/_c.py", {}, "passes/a/_b/_c.py has no test: write tests/passes/a/_b/test_c.py"),
        ("passes/a/c.py tests/passes/test_c.py", {}, "passes/a/c.py has no test"),
        ("passes/b.py tests/passes/test_b.py", {"passes/c": "gone"}, "there is no passes/c.py"),
        ("passes/c.py tests/passes/c.md", {"passes/c": "one constant"}, "passes/c.py has a test of its name"),
    ],
)
def test_a_missing_test_is_found(files, without, message):
    assert any(message in fault for fault in mirror.faults({*map(Path, files.split())}, without))


@pytest.mark.parametrize(
    ("files", "without"),
    [
        ("compiler/a/b.py tests/compiler/a/test_b.py compiler/a/__init__.py", {}),
        ("passes/a/_b.py tests/passes/a/b.md", {}),
        ("passes/a/_b.py", {"passes/a/_b": "one constant"}),
    ],
)
def test_a_module_with_a_test_is_not_flagged(files, without):
    assert not list(mirror.faults({*map(Path, files.split())}, without))


def test_there_are_sources():
    assert {"compiler/errors.py", "compiler/ir/model.py", "onnx_compress/__init__.py"} <= set(map(str, sources()))


@pytest.mark.parametrize("name", ["compiler", "passes"])
def test_the_package_links_to_its_folders(name):
    link = ROOT / PACKAGE / name
    assert link.is_symlink()
    assert link.readlink() == Path("..") / name


@pytest.mark.parametrize(
    ("check", "path", "text", "message"),
    [
        (layering, "compiler/ir/x.py", "from onnx_compress.compiler.runtime import data", "ir must not import runtime"),
        (layering, "compiler/ir/x.py", "import onnx_compress.compiler.cli", "ir must not import cli"),
        (layering, "compiler/ir/x.py", "from onnx_compress.compiler import report", "ir must not import report"),
        (layering, "compiler/repair/x.py", "import onnx_compress.compiler.budget.y", "repair must not import budget"),
        (
            layering,
            "compiler/budget/x.py",
            "import onnx_compress.compiler.pipeline.y",
            "budget must not import pipeline",
        ),
        (layering, "compiler/errors.py", "from onnx_compress.compiler.ir import edit", "errors must not import ir"),
        (layering, "compiler/new/x.py", "", "'new' is not a layer"),
        (passes_point_down, "compiler/ir/x.py", "import onnx_compress.passes.prune", "must not import passes"),
        (passes_point_down, "passes/prune/x.py", "import onnx_compress.passes.quantize.y", "must not import family"),
        (heavy_libraries, "compiler/runtime/x.py", "def f():\n    import torch", "torch is only for"),
        (heavy_libraries, "passes/prune/x.py", "from onnxruntime import InferenceSession", "onnxruntime is only for"),
        (heavy_libraries, "passes/prune/x.py", "importlib.import_module('torch')", "torch is only for"),
        (import_names, "compiler/ir/x.py", "from . import y", "relative import"),
        (import_names, "compiler/ir/x.py", "from compiler.ir import y", "second copy"),
        (import_names, "compiler/ir/x.py", "import models.nets", "not part of the distribution"),
        (sizes, "compiler/ir/x.py", "x = 1\n" * 401, "401 lines; 400 are allowed"),
        (sizes, "passes/prune/x.py", "x = 1\n" * 251, "251 lines; 250 are allowed"),
        (sizes, "compiler/ir/x.py", "def f():\n" + "    x = 1\n" * 50, "f has 51 lines; 50 are allowed"),
        (prints, "compiler/ir/x.py", "print(1)", "print outside compiler/cli"),
        (unsafe, "compiler/ir/x.py", "import pickle", "runs code"),
        (unsafe, "compiler/ir/x.py", "eval('1')", "runs code"),
        (unsafe, "compiler/ir/x.py", "np.load(f, allow_pickle=True)", "runs code"),
        (file_names, "compiler/ir/utils.py", "", "named by what it holds"),
        (one_door, "passes/prune/x.py", "node.inputs[0] = tensor", "'node.inputs' is changed outside"),
        (one_door, "passes/prune/x.py", "made(model).origin = origin", "'made(model).origin' is changed outside"),
        (one_door, "compiler/repair/x.py", "a, node.attrs['axis'] = 1, 2", "'node.attrs' is changed outside"),
        (one_door, "compiler/repair/x.py", "model.graph.nodes += more", "'model.graph.nodes' is changed outside"),
        (one_door, "compiler/zoo/x.py", "del self.model.graph.nodes[3:]", "'self.model.graph.nodes' is changed"),
        (one_door, "passes/encode/x.py", "graph.initializers.sort(key=str)", "'graph.initializers' is changed"),
        (one_door, "passes/encode/x.py", "setattr(constant, 'values', array)", "'constant.values' is changed"),
        (one_door, "passes/encode/x.py", "constant.store_as(array)", "'constant.store_as' is called outside"),
    ],
)
def test_a_planted_violation_is_caught(check, path, text, message):
    assert any(message in fault for fault in check(Path(path), ast.parse(text)))


@pytest.mark.parametrize(
    ("check", "path", "text"),
    [
        (layering, "compiler/runtime/x.py", "from onnx_compress.compiler.ir import model\nimport numpy"),
        (heavy_libraries, "passes/retrain/x.py", "import torch"),
        (passes_point_down, "passes/prune/x.py", "import onnx_compress.passes.prune._y"),
        (sizes, "passes/prune/_x.py", "x = 1\n" * 400),
        (sizes, "passes/prune/_x/y.py", "x = 1\n" * 400),
        (prints, "compiler/cli/x.py", "print(1)"),
        (unsafe, "compiler/ir/x.py", "np.load(f, allow_pickle=False)"),
        (one_door, "compiler/ir/x.py", "node.inputs[0] = tensor"),
        (one_door, "passes/prune/x.py", "self.values[index] = 1\nself.nodes = model.graph.nodes"),
        (one_door, "passes/prune/x.py", "edit.set_origin(model, tensor, origin)\nfound = node.inputs.index(tensor)"),
    ],
)
def test_what_is_allowed_is_not_flagged(check, path, text):
    assert not list(check(Path(path), ast.parse(text)))
