"""Billing with its counts in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from services.billing.edge.cells_postgresql import PostgresCells
from tests.support.billing.stage import (
    NOVEMBER_MS,
    OCTOBER_MS,
    Stage,
    eventually,
    open_stage,
)
from tests.support.postgresql import Postgresql, postgresql

_TABLES = "sluice_billing_state, sluice_billing_watermarks, sluice_billing_months"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgresql]:
    with postgresql() as found:
        yield found


@pytest.fixture
def stage(kafka_bootstrap: str, redis_url: str, server: Postgresql) -> Iterator[Stage]:
    with open_stage(kafka_bootstrap, redis_url) as found:
        cells = PostgresCells(server.url, found.state)
        found.other_cells = cells
        yield found
        cells.close()


def test_counting_closing_and_sql_agree(stage: Stage, server: Postgresql) -> None:
    stage.publish(40, OCTOBER_MS, size_bytes=10)
    stage.count_all()
    assert stage.recount().agree
    with stage.closer() as closer:
        closed = closer.close("2026-10", "command")
    assert closed.totals == {"billed": 40, "bytes": 400, "delivered": 40}
    with psycopg.connect(server.url) as connection:
        found = connection.execute(
            "SELECT client, day, sum(count) FROM sluice_billing_cells WHERE installation = %s"
            " AND month = '2026-10' AND counter = 'billed' AND detail = '' GROUP BY client, day",
            (stage.state,),
        ).fetchall()
    assert [(client, day, int(number)) for client, day, number in found] == [("shop", "15", 40)]


def test_a_server_that_dies_while_events_come_counts_each_once(
    stage: Stage, server: Postgresql
) -> None:
    stage.publish(300, OCTOBER_MS)
    with stage.counting() as worker:
        eventually(lambda: bool(stage.cells.read().watermarks), "something is counted")
        server.stop()
        stage.publish(300, NOVEMBER_MS)
        eventually(lambda: "PostgreSQL" in worker.store, "the worker says what it waits for")
        server.start()
    stage.count_all()
    assert stage.billed() == {"2026-10": 300, "2026-11": 300}


def test_emptied_tables_are_restored_from_the_checkpoint(stage: Stage, server: Postgresql) -> None:
    stage.publish(50, OCTOBER_MS)
    stage.count_all()
    assert stage.checkpoint()
    stage.delete_events(10)
    with psycopg.connect(server.url) as connection:
        connection.execute(f"TRUNCATE sluice_billing_cells, {_TABLES}")
    stage.publish(5, NOVEMBER_MS)
    stage.count_all()
    assert stage.billed() == {"2026-10": 50, "2026-11": 5}
