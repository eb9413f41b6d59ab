"""The stores of cells under one interface, with a way to lose data of each store."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Final

import psycopg
import redis
from msgspec import Struct, structs

from services.billing.edge.cells import Cells, RedisCells
from services.billing.edge.cells_memory import MemoryCells
from services.billing.edge.cells_postgresql import PostgresCells
from shared.store.apply_cells import Run
from shared.store.read_cells import Snapshot
from tests.support.postgresql import Postgresql

LOG: Final = "log-1"
MONTH: Final = "2026-11"
CELL: Final = '["shop","news","","billed"]'


class Store(Struct):
    """Cells, and how to lose a month of them, as a server that evicts keys may."""

    cells: Cells
    lose_month: Callable[[str], object]
    lose_all: Callable[[], object]


def memory_store() -> Store:
    cells = MemoryCells()
    return Store(cells, cells.lose_month, cells.lose_all)


def redis_store(client: redis.Redis) -> Store:
    state = f"{{test:{uuid.uuid4().hex}}}:cells"
    return Store(
        RedisCells(client, state),
        lambda month: client.delete(f"{state}:{month}"),
        lambda: client.delete(state, *client.scan_iter(f"{state}:*")),
    )


def postgresql_store(server: Postgresql) -> Store:
    name = uuid.uuid4().hex

    def delete(tables: tuple[str, ...], where: str, *values: str) -> None:
        with psycopg.connect(server.url) as connection:
            for table in tables:
                connection.execute(f"DELETE FROM sluice_billing_{table} WHERE {where}", values)

    return Store(
        PostgresCells(server.url, name),
        lambda month: delete(("cells",), "installation = %s AND month = %s", name, month),
        lambda: delete(("state", "watermarks", "months", "cells"), "installation = %s", name),
    )


def plain(found: Snapshot) -> Snapshot:
    """Return the fields without the generation, which is random."""
    return structs.replace(found, generation="")


def run(expected: int, target: int, number: int = 1, month: str = MONTH, partition: int = 0) -> Run:
    return Run(LOG, partition, expected, target, ((month, CELL, number),) if number else ())
