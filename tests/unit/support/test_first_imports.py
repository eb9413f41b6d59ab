"""The test modules that each process of a run imports first."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import first_imports

TESTS = Path(first_imports.__file__).parents[1]


@given(st.lists(st.integers(min_value=1, max_value=90_000), max_size=40), st.integers(1, 6))
def test_the_shares_are_everything_once_in_order(sizes: list[int], count: int) -> None:
    places = list(range(len(sizes)))
    shares = [places[first_imports.share(sizes, number, count)] for number in range(count)]
    taken = [place for each in shares for place in each]
    assert taken == places


def test_shares_have_about_the_same_size() -> None:
    sizes = [100] * 30 + [300] * 10
    sums = [sum(sizes[first_imports.share(sizes, number, 4)]) for number in range(4)]
    assert all(abs(each - 1500) <= 300 for each in sums)


def test_a_module_that_cannot_be_imported_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {"broken": "1 / 0", "skipped": "import pytest\npytest.skip('x')", "usable": "VALUE = 1"}
    names = [f"first_imports_{name}" for name in texts]
    for name, text in zip(names, texts.values(), strict=True):
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    first_imports.import_modules(names)
    assert [name in sys.modules for name in names] == [False, False, True]
    del sys.modules[names[-1]]


def test_every_folder_of_tests_is_a_package() -> None:
    folders = {file.parent for file in TESTS.rglob("test_*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []
