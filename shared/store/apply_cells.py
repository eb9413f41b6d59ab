"""apply_cells.lua: adds counts to the billing cells, at most once per record.

If the stored cells were counted from another log, nothing is added. An operator may decide to
continue the cells with the present log; then adopt_log.lua is run.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Final

import redis
from msgspec import Struct

from shared.store.script import Script

NAME: Final = "apply_cells"
ADOPT_NAME: Final = "adopt_log"


class Run(Struct, frozen=True):
    """The counts to add for one run of records of one partition.

    `expected` is the watermark before the records (-1: none is stored), and `target` is the
    watermark after the records. `hole` is a month (YYYY-MM) of which records before this run are
    missing; "" if no records are missing. Each item of `increments` is (month, cell, count).
    """

    log: str
    partition: int
    expected: int
    target: int
    increments: tuple[tuple[str, str, int], ...] = ()
    hole: str = ""


class Applied(Struct, frozen=True, tag=True):
    """The run was added and the watermark moved to its target."""


class Stale(Struct, frozen=True, tag=True):
    """Nothing was added, because the stored watermark is not `expected` (-1: none is stored)."""

    watermark: int
    dropped: bool = False  # the stored cells were incomplete and have been deleted


class OtherLog(Struct, frozen=True, tag=True):
    """Nothing was added, as the cells were counted from another log. An operator must decide."""

    log: str


class ApplyCells:
    """The script on one Redis client. `state` is the key of the script, with a {hash tag}."""

    def __init__(self, client: redis.Redis, state: str) -> None:
        self._script = Script(client, NAME)
        self._state = state

    def run(self, run: Run) -> Applied | Stale | OtherLog:
        """Add the run. Raises StoreUnavailable; the same run may then be sent again."""
        arguments: list[str | int] = [
            run.log,
            run.partition,
            run.expected,
            run.target,
            secrets.token_hex(8),
            run.hole,
        ]
        arguments.extend(_flat(run.increments))
        code, watermark = self._script.run([self._state], arguments)
        if code == -2:
            return OtherLog(str(watermark))
        return Applied() if code == 1 else Stale(int(watermark), dropped=code == -1)


def _flat(increments: Iterable[tuple[str, str, int]]) -> Iterable[str | int]:
    for triple in increments:
        yield from triple


class AdoptLog:
    """The script adopt_log.lua on one client. `state` is the script's key, with a {hash tag}."""

    def __init__(self, client: redis.Redis, state: str) -> None:
        self._script = Script(client, ADOPT_NAME)
        self._state = state

    def run(self, log: str, month: str, partitions: Iterable[int]) -> str:
        """Continue the cells with this log; return the id of the previous log.

        The result is "" if there are no cells. Raises StoreUnavailable.
        """
        return str(self._script.run([self._state], [log, month, *partitions]))
