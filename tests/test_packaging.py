"""What is installed: the wheel holds the package and nothing else, and a checkout without links says so."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import onnx_compress
from tests.test_layers import imports, trees

ROOT = Path(__file__).parent.parent
FOLDERS = ("onnx_compress", "compiler", "passes")

BUILD = "import setuptools.build_meta as build; print(build.build_wheel('dist'))"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, links kept, as a clone has them."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    (folder / "models").mkdir()
    (folder / "models" / "__init__.py").touch()
    (folder / "tests").mkdir()
    return folder


@pytest.fixture(scope="module")
def wheel(checkout: Path) -> Path:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BUILD], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return checkout / "dist" / done.stdout.splitlines()[-1]


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_the_package_only(wheel):
    tops = {name.split("/")[0] for name in names(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"onnx_compress"}


def test_the_wheel_holds_every_source_and_the_marker_of_types(wheel):
    expected = {
        f"onnx_compress/{path.relative_to(ROOT)}"
        for folder in ("compiler", "passes")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {"onnx_compress/py.typed", "onnx_compress/__init__.py", *expected} <= names(wheel)


def test_the_wheel_holds_the_licence_and_the_command(wheel):
    with zipfile.ZipFile(wheel) as archive:
        entry = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "onnx-compress = onnx_compress.compiler.cli.main:main" in archive.read(entry).decode()
        assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())


def test_the_wheel_works_without_the_checkout(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    program = (
        "import onnx_compress; from onnx_compress.compiler.pipeline import registry; "
        "print(onnx_compress.__file__); print(len(registry.all_passes()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    file, count = done.stdout.splitlines()
    assert Path(file).is_relative_to(tmp_path)
    assert int(count) >= 3


def test_a_checkout_without_links_says_so_in_one_line(checkout, tmp_path):
    shutil.copytree(checkout / "onnx_compress", tmp_path / "onnx_compress", symlinks=True)
    for name in ("compiler", "passes"):
        (tmp_path / "onnx_compress" / name).unlink()
        (tmp_path / "onnx_compress" / name).write_text(f"../{name}")  # what git writes where it can't make links
    done = subprocess.run(
        [sys.executable, "-c", "import onnx_compress"],
        cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("ImportError: ")
    assert "symbolic link to ../compiler" in last
    assert "core.symlinks" in last


def test_the_public_names_are_there():
    assert onnx_compress.__all__ == sorted(onnx_compress.__all__)
    for name in onnx_compress.__all__:
        assert getattr(onnx_compress, name).__module__.startswith("onnx_compress.")
    assert set(onnx_compress.__all__) <= set(dir(onnx_compress))
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = onnx_compress.nonsense


def test_importing_the_package_loads_nothing_heavy():
    program = "import sys, onnx_compress.compiler.ir.model; print(sorted({'torch', 'onnxruntime'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_dependency_is_pinned_for_ci():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {
        line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    needed = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    for requirement in needed:
        name = _normalized(requirement)
        assert name in pinned | {"onnx-compress"}, f"{name} is not in constraints.txt"
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text().splitlines()


def test_what_the_package_imports_is_installed_with_it():
    """Models of the zoo are built by libraries of the tests."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    installed = {_normalized(requirement) for requirement in project["dependencies"]} | {"protobuf"}  # onnx's own
    owners = packages_distributions()
    for path, tree in trees().items():
        if path.parts[0] not in ("compiler", "passes") or path.is_relative_to("compiler/zoo"):
            continue
        for found in imports(tree):
            name = found.module.split(".")[0]
            if found.is_relative or name in sys.stdlib_module_names or name in ("onnx_compress", ""):
                continue
            given = {_normalized(owner) for owner in owners.get(name, [name])}
            assert given & installed, f"{path}, line {found.line}: {name} is not a dependency in pyproject.toml"


def _normalized(requirement: str) -> str:
    return re.split(r"[<>=\[]", requirement)[0].strip().lower().replace("_", "-")
