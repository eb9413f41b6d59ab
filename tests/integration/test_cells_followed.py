"""What changed in a month since the last time, whoever counts meanwhile."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.billing.core.cells import Cell, encode_cell
from services.billing.edge.cells import RedisCells
from services.billing.edge.one_moment import AcceptedMail
from shared.settings.sections import RedisSettings
from shared.store.apply_cells import Run
from shared.store.client import connect
from shared.store.read_pieces import COPIED_WHEN_FOLLOWING, CellsChanged, ReadChanges

MONTH = "2026-10"
NAMES = [encode_cell(Cell("shop", f"m{number}", "", "received")) for number in range(7_000)]


@pytest.fixture(scope="module")
def client(redis_url: str) -> Iterator[redis.Redis]:
    found = connect(RedisSettings(url=redis_url))
    yield found
    found.close()


class Followed:
    """Cells, one that follows them, and what both should have."""

    def __init__(self, client: redis.Redis) -> None:
        self.client: redis.Redis = client
        self.key = f"{{test:{uuid.uuid4().hex}}}:cells"
        self.cells = RedisCells(client, self.key)
        self.follower = ReadChanges(client, self.key)
        self.mark = -1
        self.counted = Counter[str]()
        self.seen = Counter[str]()

    def count(self, names: list[str], number: int = 1) -> None:
        run = Run("log", 0, self.mark, self.mark + 1, tuple((MONTH, n, number) for n in names))
        self.cells.apply(run)
        self.mark += 1
        for name in names:
            self.counted[name] += number

    def count_as_before(self) -> None:
        """As a process of an earlier version, which keeps nothing for readers."""
        self.client.hincrby(self.key, f"month:{MONTH}", 1)
        self.client.hincrby(f"{self.key}:{MONTH}", NAMES[0], 1)
        self.counted[NAMES[0]] += 1

    def look(self, act: Callable[[], object] = lambda: None) -> bool:
        """Follow once; act after the first count. Whether it had changes only."""
        with self.follower.reading(MONTH) as moment:
            expected = dict(self.counted)
            found = self.seen if moment.are_changes else Counter[str]()
            for place, (_, name, number) in enumerate(moment.counts):
                if not place:
                    act()
                found[name] += number
            assert dict(found) == expected
            self.seen = found
            return moment.are_changes

    def stored(self) -> set[str]:
        return {key.removeprefix(self.key) for key in self.client.scan_iter(f"{self.key}*")}


@pytest.fixture
def followed(client: redis.Redis) -> Iterator[Followed]:
    found = Followed(client)
    found.count(NAMES, 3)
    yield found
    client.delete(*(found.key + key for key in found.stored()))


steps = st.lists(st.tuples(st.integers(0, 6_999), st.integers(1, 7_000), st.booleans()), max_size=8)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(steps)
def test_changes_add_up_to_the_counts_of_each_moment(
    client: redis.Redis, runs: list[tuple[int, int, bool]]
) -> None:
    """Some runs are counted between two times, others while changes are read."""
    found = Followed(client)
    found.count(NAMES[:10])
    assert not found.look()
    for begin, number, is_meanwhile in runs:
        names = NAMES[begin : begin + number]
        if is_meanwhile:
            found.count(NAMES[:1])
            assert found.look(partial(found.count, names))
        else:
            found.count(names)
        assert found.look()
    assert found.look()
    found.follower.close()
    assert found.stored() == {"", f":{MONTH}"}
    client.delete(*(found.key + key for key in found.stored()))


def test_only_what_changed_is_read(followed: Followed) -> None:
    followed.look()
    followed.count(NAMES[:3])
    with followed.follower.reading(MONTH) as moment:
        assert sorted(moment.counts) == sorted((MONTH, name, 1) for name in NAMES[:3])
    with followed.follower.reading(MONTH) as moment:
        assert (moment.are_changes, list(moment.counts)) == (True, [])


@pytest.mark.parametrize("gone", ["reading", "month", "state"])
def test_a_reader_whose_cells_are_gone_has_the_whole_month_next(
    followed: Followed, gone: str
) -> None:
    followed.look()
    client, key = followed.client, followed.key
    match gone:
        case "reading":  # a pause of many minutes, or an evicted key
            client.delete(*client.scan_iter(f"{key}:reading:*"))
        case _:  # lost, and restored from a checkpoint
            client.hset(key, "generation", "another")
            client.hset(f"{key}:{MONTH}", "generation", "another")
    with pytest.raises(CellsChanged, match="not known any more"):
        followed.look()
    assert not followed.look()
    assert followed.look()


def test_a_block_that_fails_has_the_whole_month_next(followed: Followed) -> None:
    followed.look()
    followed.count(NAMES[:9])
    with pytest.raises(ZeroDivisionError):
        followed.look(lambda: 1 // 0)
    assert not followed.look()


@pytest.mark.parametrize("is_meanwhile", [False, True])
def test_beside_a_process_of_an_earlier_version_all_is_read_from_copies_for_a_while(
    followed: Followed, is_meanwhile: bool
) -> None:
    followed.look()
    # More than one piece: what comes after the last one is noticed the next time.
    followed.count(NAMES)
    if not is_meanwhile:
        followed.count_as_before()
    with pytest.raises(CellsChanged, match="changed"):
        followed.look(followed.count_as_before if is_meanwhile else lambda: None)
    for _ in range(COPIED_WHEN_FOLLOWING):
        followed.count_as_before()
        assert not followed.look()
    assert not followed.look()
    assert followed.look()


def test_what_was_accepted_is_exact_beside_a_process_of_an_earlier_version(
    followed: Followed,
) -> None:
    accepted = AcceptedMail(followed.cells)
    for act in (followed.count_as_before, lambda: followed.count(NAMES)) * 8:
        act()
        moment, found = accepted.read(MONTH)
        assert found == {("shop", ""): followed.counted.total()}
        assert moment.watermarks == {0: followed.mark}
    accepted.close()
    assert followed.stored() == {"", f":{MONTH}"}
