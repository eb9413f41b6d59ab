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


@pytest.mark.parametrize(
    "path", sorted(TESTS.glob("unit/services/*/test_*.py")), ids=lambda path: path.name
)
def test_a_unit_test_of_one_folder_of_a_service_is_in_that_folder(path: Path) -> None:
    service = f"services.{path.parent.name}"
    modules = {
        node.module
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module
    }
    folders = {name.rpartition(".")[0] for name in modules if name.startswith(f"{service}.")}
    assert service in folders or len(folders) > 1, f"move it to the folder of {folders}"


def test_helpers_are_in_the_support_folder() -> None:
    elsewhere = [
        str(path.relative_to(TESTS))
        for folder in ("unit", "integration", "chaos")
        for path in sorted((TESTS / folder).rglob("*.py"))
        if not path.name.startswith("test_") and path.name not in ("__init__.py", "conftest.py")
    ]
    assert not elsewhere
