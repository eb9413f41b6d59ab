"""Cells that are read in pieces are those of one moment, whoever counts meanwhile."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.billing.core.cells import Cell, encode_cell
from services.billing.edge.cells import RedisCells
from shared.settings.sections import RedisSettings
from shared.store.apply_cells import Run
from shared.store.client import StoreUnavailable, connect

MONTHS = ("2026-10", "2026-11")
NAMES = [encode_cell(Cell("shop", f"m{number}", "", "billed")) for number in range(12_000)]
LATER = [encode_cell(Cell("shop", f"later{number}", "", "billed")) for number in range(6_000)]


@pytest.fixture(scope="module")
def client(redis_url: str) -> Iterator[redis.Redis]:
    found = connect(RedisSettings(url=redis_url))
    yield found
    found.close()


class Counted:
    """Cells of an installation of its own, and what was counted."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.key = f"{{test:{uuid.uuid4().hex}}}:cells"
        self.cells = RedisCells(client, self.key)
        self.mark = -1

    def count(self, increments: list[tuple[str, str, int]]) -> None:
        self.cells.apply(Run("log", 0, self.mark, self.mark + 1, tuple(increments)))
        self.mark += 1

    def stored(self) -> set[str]:
        return {key.removeprefix(self.key) for key in self.client.scan_iter(f"{self.key}*")}


@pytest.fixture
def counted(client: redis.Redis) -> Iterator[Counted]:
    found = Counted(client)
    found.count([(month, name, 3) for month in MONTHS for name in NAMES])
    yield found
    client.delete(*(found.key + key for key in found.stored()))


runs = st.lists(
    st.tuples(st.integers(0, 23_999), st.sampled_from(MONTHS), st.sampled_from([NAMES, LATER])),
    max_size=6,
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(runs)
def test_pieces_have_the_counts_of_the_moment_whenever_others_are_counted(
    client: redis.Redis, later: list[tuple[int, str, list[str]]]
) -> None:
    """Each run is counted when so many cells were read."""
    counted = Counted(client)
    counted.count([(month, name, 3) for month in MONTHS for name in NAMES])
    waiting, found = sorted(later, key=lambda each: -each[0]), {}
    with counted.cells.reading(*MONTHS) as (moment, cells):
        for place, (month, name, number) in enumerate(cells):
            assert (month, name) not in found
            found[month, name] = number
            while waiting and waiting[-1][0] <= place:
                _, changed, names = waiting.pop()
                counted.count([(changed, name, 100) for name in names[::3]])
    assert found == {(month, name): 3 for month in MONTHS for name in NAMES}
    assert moment.watermarks == {0: 0}
    assert counted.stored() == {"", ":2026-10", ":2026-11"}
    client.delete(*(counted.key + key for key in counted.stored()))


def test_two_readers_have_each_their_own_moment(counted: Counted) -> None:
    with counted.cells.reading(MONTHS[0]) as (_, first):
        begun = [next(first)]
        counted.count([(MONTHS[0], name, 1) for name in NAMES])
        with counted.cells.reading(MONTHS[0]) as (_, second):
            counted.count([(MONTHS[0], name, 1) for name in NAMES])
            assert {number for _, _, number in second} == {4}
        counted.count([(MONTHS[0], name, 1) for name in NAMES])
        assert {number for _, _, number in [*begun, *first]} == {3}
    assert counted.cells.read(MONTHS[0]).months[MONTHS[0]][NAMES[0]] == 6


def test_what_a_process_of_an_earlier_version_counts_is_noticed_and_the_next_readings_are_copies(
    counted: Counted,
) -> None:
    """Its script keeps nothing for readers."""

    def count_as_before() -> None:
        counted.client.hincrby(counted.key, f"month:{MONTHS[0]}", 1)
        counted.client.hincrby(f"{counted.key}:{MONTHS[0]}", NAMES[0], 1)

    with pytest.raises(StoreUnavailable, match="of 2026-10 cannot be read in pieces: changed"):
        read_while(counted, count_as_before)
    assert read_while(counted, count_as_before) == {**dict.fromkeys(NAMES, 3), NAMES[0]: 4}


@pytest.mark.parametrize("gone", ["reading", "month", "restored"])
def test_a_reading_whose_cells_are_gone_fails_and_never_ends_early(
    counted: Counted, gone: str
) -> None:
    def lose() -> None:
        match gone:
            case "reading":
                counted.client.delete(*counted.client.scan_iter(f"{counted.key}:reading:*"))
            case "month":
                counted.client.delete(f"{counted.key}:{MONTHS[0]}")
            case _:
                counted.client.hset(f"{counted.key}:{MONTHS[0]}", "generation", "another")

    with pytest.raises(StoreUnavailable, match="lost"):
        read_while(counted, lose)
    assert not any("reading" in key for key in counted.stored())


def read_while(counted: Counted, act: Callable[[], None]) -> dict[str, int]:
    """Read the first month; act after the first cell."""
    with counted.cells.reading(MONTHS[0]) as (_, cells):
        begun = [next(cells)]
        act()
        return {name: number for _, name, number in [*begun, *cells]}


def test_a_reader_that_died_holds_up_nobody_and_is_forgotten(counted: Counted) -> None:
    with counted.cells.reading(MONTHS[0]) as (_, cells):
        next(cells)
        counted.client.delete(*counted.client.scan_iter(f"{counted.key}:reading:*"))
        assert ":readings" in counted.stored()
        counted.count([(MONTHS[0], NAMES[0], 1)])
        assert counted.stored() == {"", ":2026-10", ":2026-11"}
