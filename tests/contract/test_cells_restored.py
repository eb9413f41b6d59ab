"""The live cells: every store is restored in the same way, and its twin answers as it does."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.billing.core.cells import Cell, encode_cell
from services.billing.edge.cells import RedisCells
from shared.store.apply_cells import Applied, Run
from shared.store.client import StoreUnavailable
from shared.store.read_cells import ALL_MONTHS, Snapshot
from shared.store.restore_cells import RepeatedCell
from tests.support.billing.stores import (
    CELL,
    LOG,
    MONTH,
    Store,
    memory_store,
    plain,
    postgresql_store,
    redis_store,
    run,
)
from tests.support.postgresql import postgresql

KEPT = Snapshot(True, LOG, {0: 5, 1: 2}, {1: "2026-09"}, {}, versions={MONTH: 1, "2026-10": 1})
KEPT_CELLS = ((MONTH, CELL, 7), ("2026-10", CELL, 2))


def test_a_snapshot_takes_the_place_of_lost_counts_and_counting_goes_on(store: Store) -> None:
    store.cells.apply(run(-1, 10, 3))
    store.lose_all()
    assert store.cells.restore(KEPT, iter(KEPT_CELLS)) is True
    found = store.cells.read(ALL_MONTHS)
    assert (found.whole, found.log, found.watermarks) == (True, LOG, {0: 5, 1: 2})
    assert (found.holes, set(found.versions)) == (KEPT.holes, set(KEPT.versions))
    assert store.cells.apply(run(5, 6, 1)) == Applied()
    assert store.cells.read(MONTH).months == {MONTH: {CELL: 8}}


def test_a_snapshot_never_takes_the_place_of_counts(store: Store) -> None:
    store.cells.apply(run(-1, 10, 3))
    assert store.cells.restore(KEPT, iter(KEPT_CELLS)) is False
    assert store.cells.read(ALL_MONTHS).months == {MONTH: {CELL: 3}}


@pytest.mark.parametrize("between", [0, 25_000])
def test_cells_of_which_one_is_named_twice_are_refused_and_nothing_is_restored(
    store: Store, between: int
) -> None:
    others = [encode_cell(Cell("shop", f"m{number}", "", "billed")) for number in range(between)]
    cells = [(MONTH, name, 7) for name in (CELL, *others, CELL)]
    with pytest.raises(RepeatedCell, match=MONTH):
        store.cells.restore(KEPT, iter(cells))
    assert store.cells.read().log == ""
    assert store.cells.restore(KEPT, iter(KEPT_CELLS)) is True


def test_a_server_that_loses_what_is_restored_meanwhile_does_not_have_a_cell_twice(
    redis_url: str,
) -> None:
    """The checkpoint is sound, and has to be restored again."""
    client, state = (
        redis.Redis.from_url(redis_url, decode_responses=True),
        f"{{{uuid.uuid4().hex}}}",
    )

    def counts() -> Iterator[tuple[str, str, int]]:
        for number in range(6_000):
            if number == 5_500:
                client.delete(*client.scan_iter(f"{state}:restore:*"))
            yield MONTH, encode_cell(Cell("shop", f"m{number}", "", "billed")), 1

    with pytest.raises(StoreUnavailable, match="gone"):
        RedisCells(client, state).restore(KEPT, counts())
    assert not list(client.scan_iter(f"{state}*"))
    client.close()


def test_counts_that_were_dropped_on_purpose_are_not_restored(store: Store) -> None:
    store.cells.apply(run(-1, 10, 3))
    store.cells.drop()
    assert store.cells.restore(KEPT, iter(KEPT_CELLS)) is False
    assert store.cells.apply(run(-1, 4, 1)) == Applied()
    assert store.cells.read().dropped is False


def test_versions_say_which_months_have_changed(store: Store) -> None:
    store.cells.apply(run(-1, 1, 2, "2026-10"))
    store.cells.apply(run(1, 2, 3, "2026-11"))
    before = store.cells.read()
    store.cells.apply(run(2, 3, 3, "2026-11"))
    store.cells.apply(run(3, 4, 0))
    after = store.cells.read()
    assert after.generation == before.generation != ""
    assert before.versions.keys() == after.versions.keys() == {"2026-10", "2026-11"}
    assert {
        month for month, version in after.versions.items() if version != before.versions[month]
    } == {"2026-11"}


def test_counts_that_were_lost_have_another_generation(store: Store) -> None:
    store.cells.apply(run(-1, 1))
    before = store.cells.read().generation
    store.lose_all()
    assert store.cells.read().generation == ""
    store.cells.apply(run(-1, 1))
    assert store.cells.read().generation not in ("", before)


def test_postgresql_that_is_stopped_is_unavailable_and_used_again_when_it_is_back() -> None:
    with postgresql() as server:
        cells = postgresql_store(server).cells
        cells.apply(run(-1, 10, 3))
        server.stop()
        with pytest.raises(StoreUnavailable, match="PostgreSQL"):
            cells.read()
        server.start()
        assert cells.read(MONTH).months == {MONTH: {CELL: 3}}


applies = st.builds(
    lambda partition, expected, step, month, number, log: Run(
        log, partition, expected, max(expected, 0) + step, ((month, CELL, number),)
    ),
    st.integers(0, 1),
    st.integers(-1, 3),
    st.integers(0, 2),
    st.sampled_from(["2026-10", "2026-11"]),
    st.integers(1, 3),
    st.sampled_from([LOG, LOG, LOG, "log-2"]),
)
losses = st.sampled_from(["2026-10", "2026-11", "drop", "adopt", "lose", "restore"])


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(st.lists(applies | applies | applies | losses, max_size=12))
def test_the_twin_answers_as_the_store_does(client: redis.Redis, steps: list[Run | str]) -> None:
    stores = (memory_store(), redis_store(client))
    for step in steps:
        answers: list[object] = []
        for each in stores:
            if step == "drop":
                each.cells.drop()
            elif step == "adopt":
                answers.append(each.cells.adopt("log-2", MONTH, [0, 1]))
            elif step == "lose":
                each.lose_all()
            elif step == "restore":
                answers.append(each.cells.restore(KEPT, iter(KEPT_CELLS)))
            elif isinstance(step, str):
                each.lose_month(step)
            else:
                answers.append(each.cells.apply(step))
        assert answers[:1] == answers[1:]
        found = [each.cells.read(ALL_MONTHS) for each in stores]
        assert plain(found[0]) == plain(found[1])
