"""Keeps the resources that the modules of one xdist group share while tests of this group run.

Job: start a resource when the first test of a group requests it, and end it before the first test
of another group. A fixture of the scope `session` would run until the process ends, and an unused
pipeline takes a quarter of a processor. Owns: the started resources, and the time at which they
end. Does not own: the modules of a group (their marks), and the order of the tests
(tests/conftest.py sorts them by group).

On failure: an error at the end of a resource is an error of the last test of the group; the other
resources are still ended. If another test of the group follows, the resources are started again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar, cast

import pytest

_Thing = TypeVar("_Thing")


class GroupScope:
    """The resources of the current group. This class is a plugin of pytest."""

    def __init__(self) -> None:
        self._started: dict[str, object] = {}
        self._running = ExitStack()

    def share(self, name: str, start: Callable[[], AbstractContextManager[_Thing]]) -> _Thing:
        """Return the resource of this name; start it if no test of the group requested it yet."""
        if name not in self._started:
            self._started[name] = self._running.enter_context(start())
        return cast("_Thing", self._started[name])

    def end(self) -> None:
        """End all resources in the reverse order of their start."""
        self._started.clear()
        self._running.close()

    @pytest.hookimpl(trylast=True)  # after the fixtures of the test, which may use it
    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """End all resources if the next test belongs to another group or to no group."""
        group = group_of(item)
        if group and (nextitem is None or group_of(nextitem) != group):
            self.end()


def group_of(item: pytest.Item) -> str:
    """Return the xdist group of a test; "" if it belongs to none."""
    mark = item.get_closest_marker("xdist_group")
    return str(mark.args[0]) if mark else ""


def together(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the same tests, sorted so that the tests of a group follow one another."""
    first: dict[str, int] = {}
    places: dict[pytest.Item, int] = {}
    for place, item in enumerate(items):
        group = group_of(item)
        places[item] = first.setdefault(group, place) if group else place
    return sorted(items, key=places.__getitem__)
