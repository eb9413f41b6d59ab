"""What the modules of one xdist group share, for as long as tests of this group follow one another.

Job: start a thing when the first test of a group asks for it, and end it before the first test of
another group. A fixture of the scope `session` would run until the process ends, and a pipeline
that nobody uses takes a quarter of a processor. Owns: what was started and when it ends. Does not
own: which modules form a group (their marks), that the tests of a group follow one another
(tests/conftest.py sorts them).

On failure: an error while something ends is an error of the last test of the group; the rest is
ended all the same. If another test of the group follows after all, everything is started again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar, cast

import pytest

_Thing = TypeVar("_Thing")


class GroupScope:
    """The things of the current group. A plugin of pytest."""

    def __init__(self) -> None:
        self._started: dict[str, object] = {}
        self._running = ExitStack()

    def share(self, name: str, start: Callable[[], AbstractContextManager[_Thing]]) -> _Thing:
        """The thing of this name, started if no test of the group has asked for it yet."""
        if name not in self._started:
            self._started[name] = self._running.enter_context(start())
        return cast("_Thing", self._started[name])

    def end(self) -> None:
        """End everything, the last one first."""
        self._started.clear()
        self._running.close()

    @pytest.hookimpl(trylast=True)  # after the fixtures of the test, which may use it
    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """End everything if the next test belongs to another group or to none."""
        group = group_of(item)
        if group and (nextitem is None or group_of(nextitem) != group):
            self.end()


def group_of(item: pytest.Item) -> str:
    """The xdist group of a test; "" if it belongs to none."""
    mark = item.get_closest_marker("xdist_group")
    return str(mark.args[0]) if mark else ""


def together(items: list[pytest.Item]) -> list[pytest.Item]:
    """The same tests, those of each group directly after its first one."""
    first: dict[str, int] = {}
    places: dict[pytest.Item, int] = {}
    for place, item in enumerate(items):
        group = group_of(item)
        places[item] = first.setdefault(group, place) if group else place
    return sorted(items, key=places.__getitem__)
