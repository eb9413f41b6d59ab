"""Cells that are read in pieces are those of one moment, whoever counts meanwhile."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs
from redis.exceptions import TimeoutError as RedisTimeoutError

from local.parts import ports, redis_server
from local.parts.redis_server import STOP_TIMEOUT_S, RedisPlan
from local.process import Process, ProcessSpec
from services.billing.core.cells import Cell, encode_cell
from services.billing.edge.cells import RedisCells
from shared.settings.sections import RedisSettings
from shared.store.apply_cells import Run
from shared.store.client import StoreUnavailable, connect
from shared.store.read_pieces import EXPIRES_S, MAX_READERS, as_copy_if_changed
from tests.support.patience import PATIENCE_S

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
        self.client: redis.Redis = client
        self.key = f"{{test:{uuid.uuid4().hex}}}:cells"
        self.cells = RedisCells(client, self.key)
        self.mark = -1

    def count(self, increments: list[tuple[str, str, int]]) -> None:
        self.cells.apply(Run("log", 0, self.mark, self.mark + 1, tuple(increments)))
        self.mark += 1

    def reader(self) -> str:
        """The key of the only reading."""
        (found,) = self.client.scan_iter(f"{self.key}:reading:*")
        return str(found)

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
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
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


def test_who_reads_again_at_once_gets_the_cells_beside_a_process_of_an_earlier_version(
    counted: Counted,
) -> None:
    def count_as_before() -> None:
        counted.client.hincrby(counted.key, f"month:{MONTHS[0]}", 1)

    found = as_copy_if_changed(lambda: read_while(counted, count_as_before))
    assert found == dict.fromkeys(NAMES, 3)


@pytest.mark.parametrize("gone", ["reading", "month", "restored", "state", "server"])
def test_a_reading_whose_cells_are_gone_fails_and_never_ends_early(
    counted: Counted, gone: str
) -> None:
    def lose() -> None:
        match gone:
            case "reading":
                counted.client.delete(*counted.client.scan_iter(f"{counted.key}:reading:*"))
            case "month":
                counted.client.delete(f"{counted.key}:{MONTHS[0]}")
            case "state":
                counted.client.hset(counted.key, "generation", "another")
            case "server":
                counted.client.hset(counted.reader(), "server", "another")
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


def test_each_piece_puts_off_the_end_of_a_reading(counted: Counted) -> None:
    with counted.cells.reading(MONTHS[0]) as (_, cells):
        keys = [counted.reader(), f"{counted.key}:readings"]
        for key in keys:
            counted.client.expire(key, EXPIRES_S // 4)
        next(cells)
        assert all(counted.client.ttl(key) > EXPIRES_S - 60 for key in keys)


def test_more_readers_than_may_register_read_copies_and_dead_ones_give_their_place(
    counted: Counted,
) -> None:
    with ExitStack() as readers:
        for _ in range(MAX_READERS):
            readers.enter_context(counted.cells.reading(MONTHS[0]))
        assert copied(counted)
        counted.client.delete(next(counted.client.scan_iter(f"{counted.key}:reading:*")))
        assert not copied(counted)
    assert not copied(counted)


def copied(counted: Counted) -> bool:
    """Whether a reader gets a copy; it has all cells in any case."""
    with counted.cells.reading(MONTHS[0]) as (moment, cells):
        found = any(":copy:" in key for key in counted.stored())
        counted.count([(MONTHS[0], NAMES[0], 1)])
        assert moment.watermarks == {0: counted.mark - 1}
        assert len(list(cells)) == len(NAMES)
    return found


class LosesAnswers(redis.Redis):
    """Runs the script that registers a reader, and loses the answer."""

    def evalsha(self, *arguments: Any) -> Any:
        found = super().evalsha(*arguments)
        if "open" in arguments:
            raise RedisTimeoutError("no answer")
        return found


def test_a_reader_whose_registration_got_no_answer_does_not_stay(
    counted: Counted, redis_url: str
) -> None:
    client = LosesAnswers.from_url(redis_url, decode_responses=True)
    with (
        pytest.raises(StoreUnavailable, match="no answer"),
        RedisCells(client, counted.key).reading(MONTHS[0]),
    ):
        pass
    client.close()
    assert counted.stored() == {"", ":2026-10", ":2026-11"}


def started(spec: ProcessSpec, folder: Path, closing: ExitStack) -> Process:
    process = Process(spec, folder / "redis.log")
    closing.callback(process.end, STOP_TIMEOUT_S)
    give_up_at = time.monotonic() + PATIENCE_S
    while not spec.is_ready():
        assert process.runs, process.log_tail()
        assert time.monotonic() < give_up_at, process.log_tail()
        time.sleep(0.02)
    return process


@pytest.mark.parametrize("is_copied", [False, True])
def test_after_a_restart_that_kept_everything_a_reading_fails(
    tmp_path: Path, is_copied: bool
) -> None:
    """The order of the cells is another one, so some would come twice and others never."""
    plan = RedisPlan(tmp_path, ports.free_ports(1)[0])
    spec = redis_server.prepare(plan)
    spec = structs.replace(spec, command=(*spec.command, "--appendonly", "yes"))
    client = connect(RedisSettings(url=plan.url))
    with ExitStack() as closing:
        closing.callback(client.close)
        process = started(spec, tmp_path, closing)
        counted = Counted(client)
        counted.count([(MONTHS[0], name, 3) for name in NAMES])
        readers = MAX_READERS if is_copied else 0
        for _ in range(readers):
            closing.enter_context(counted.cells.reading(MONTHS[0]))

        def restart() -> None:
            assert process.end(STOP_TIMEOUT_S)
            started(spec, tmp_path, closing)
            assert client.hlen(f"{counted.key}:{MONTHS[0]}") == len(NAMES) + 1

        with pytest.raises(StoreUnavailable, match="another server" if is_copied else "lost"):
            read_while(counted, restart)
