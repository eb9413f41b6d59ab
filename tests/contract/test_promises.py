"""The page of promises agrees with the table, the results and the tests that exist."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from bench.__main__ import main as bench
from cli.stack import paths
from tools import promises
from tools.promises import table

PROMISES = table.load().promises
NAMED = sorted({name for promise in PROMISES for name in promise.tests})


def functions(file: str) -> Iterator[str]:
    tree = ast.parse((paths.ROOT / file).read_text("utf-8"))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name


@pytest.mark.parametrize("name", NAMED)
def test_every_test_that_a_promise_names_exists(name: str) -> None:
    file, _, function = name.partition("::")
    assert (paths.ROOT / file).is_file(), "name the file as it is in the tree"
    assert not function or function in set(functions(file)), f"{file} has no {function}"


def test_every_figure_comes_from_a_benchmark_or_the_long_runs() -> None:
    sources = {promise.figure.source for promise in PROMISES if promise.figure}
    assert sources <= {*bench.commands, "long"}


def test_the_page_and_the_results_are_what_the_tool_writes() -> None:
    for page, text in promises.pages().items():
        assert page.read_text("utf-8") == text, "regenerate it: python -m tools.docs promises"
