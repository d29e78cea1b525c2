"""Hands the cases of a class in one after another."""

import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", metafunc.cls.CASES.values(), ids=metafunc.cls.CASES)
