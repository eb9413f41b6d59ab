"""Where tests are, and what they import."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
FILES = sorted(TESTS.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TESTS)))
def test_nothing_imports_a_test(path: Path) -> None:
    imported = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            imported += [f"{node.module}.{each.name}" for each in node.names]
        elif isinstance(node, ast.Import):
            imported += [each.name for each in node.names]
    tests = [name for name in imported if ".test_" in name]
    assert not tests, "move what they share to tests/support: " + ", ".join(tests)


def test_the_folders_of_unit_tests_are_those_of_the_source() -> None:
    folders = {path.parent.relative_to(TESTS / "unit") for path in TESTS.glob("unit/**/test_*.py")}
    unknown = [
        str(folder)
        for folder in sorted(folders)
        if not (ROOT / folder).is_dir() and folder != Path("support")
    ]
    assert not unknown


def test_helpers_are_in_the_support_folder() -> None:
    elsewhere = [
        str(path.relative_to(TESTS))
        for folder in ("unit", "integration", "chaos")
        for path in sorted((TESTS / folder).rglob("*.py"))
        if not path.name.startswith("test_") and path.name not in ("__init__.py", "conftest.py")
    ]
    assert not elsewhere
