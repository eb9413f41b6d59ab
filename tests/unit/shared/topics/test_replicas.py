"""Where additional replicas go."""

from __future__ import annotations

import pytest

from shared.topics.configs import lacking_brokers, more_replicas

THREE = {1: "", 2: "", 3: ""}


@pytest.mark.parametrize(
    ("found", "brokers", "wanted", "planned"),
    [
        ({("t", 0): [1]}, THREE, 3, {("t", 0): [1, 2, 3]}),
        ({("t", 0): [1, 2, 3]}, THREE, 3, {}),
        ({("t", 0): [1, 2, 3]}, THREE, 2, {}),  # none is removed
        ({("t", 0): [2]}, {1: "", 2: ""}, 3, {}),
        # The broker with fewest replicas first.
        ({("t", 0): [1], ("t", 1): [2]}, THREE, 2, {("t", 0): [1, 3], ("t", 1): [2, 1]}),
        # Another rack before another broker of the same rack.
        ({("t", 0): [1]}, {1: "a", 2: "a", 3: "b"}, 2, {("t", 0): [1, 3]}),
        # A broker that is away keeps its replica.
        ({("t", 0): [9]}, {1: "", 2: ""}, 2, {("t", 0): [9, 1]}),
    ],
)
def test_replicas_are_added_and_none_is_moved(
    found: dict[tuple[str, int], list[int]],
    brokers: dict[int, str],
    wanted: int,
    planned: dict[tuple[str, int], list[int]],
) -> None:
    assert more_replicas(found, brokers, wanted) == planned


def test_lacking_brokers_are_counted() -> None:
    assert [lacking_brokers(THREE, wanted) for wanted in (2, 3, 5)] == [0, 0, 2]
