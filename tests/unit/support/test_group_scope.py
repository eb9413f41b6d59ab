"""What a group of tests shares ends with the group."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import pytest

from tests.support.group_scope import GroupScope, together


class Test:
    """The part of pytest.Item that is looked at."""

    __test__ = False

    def __init__(self, name: str, group: str = "") -> None:
        self.name = name
        self._mark = pytest.mark.xdist_group(group).mark if group else None

    def get_closest_marker(self, name: str) -> pytest.Mark | None:
        return self._mark if name == "xdist_group" else None


def items(*names: str) -> list[pytest.Item]:
    """Tests named `name` or `name@group`."""
    made = [Test(name, name.partition("@")[2]) for name in names]
    return cast("list[pytest.Item]", made)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), []),
        (("a", "b", "c"), ["a", "b", "c"]),
        (("a", "b@x", "c", "d@x", "e"), ["a", "b@x", "d@x", "c", "e"]),
        (("a@x", "b@y", "c@x", "d@y"), ["a@x", "c@x", "b@y", "d@y"]),
        (("a@x", "b", "c@y", "d@x", "e"), ["a@x", "d@x", "b", "c@y", "e"]),
    ],
)
def test_the_tests_of_a_group_follow_its_first_one(
    names: tuple[str, ...], expected: list[str]
) -> None:
    assert [item.name for item in together(items(*names))] == expected


@pytest.mark.parametrize(
    ("names", "starts"),
    [
        (("a@x", "b@x"), 1),
        (("a@x", "b@y"), 2),
        (("a@x", "b"), 2),
        (("a@x", "b@x", "c@y", "d@x"), 3),
        (("a", "b@x"), 1),
    ],
)
def test_one_thing_serves_the_tests_of_a_group_that_follow_one_another(
    names: tuple[str, ...], starts: int
) -> None:
    scope, events = GroupScope(), list[str]()

    @contextmanager
    def thing() -> Iterator[str]:
        events.append("start")
        yield "a thing"
        events.append("end")

    tests = items(*names)
    for test, following in zip(tests, [*tests[1:], None], strict=True):
        assert scope.share("thing", thing) == "a thing"
        assert events[-1] == "start"
        scope.pytest_runtest_teardown(test, following)
    scope.end()
    assert events == ["start", "end"] * starts


def test_what_was_started_last_ends_first_and_an_error_stops_no_other() -> None:
    scope, ended = GroupScope(), list[str]()

    @contextmanager
    def thing(name: str) -> Iterator[None]:
        try:
            yield
        finally:
            ended.append(name)
        if name == "second":
            raise OSError("the second one")

    for name in ("first", "second", "third"):
        scope.share(name, lambda name=name: thing(name))  # type: ignore[misc]
    with pytest.raises(OSError, match="the second one"):
        scope.end()
    assert ended == ["third", "second", "first"]
