"""Named places where a test can end the process hard, as kill -9 would.

`SLUICE_FAILPOINT=name:n` (several joined by commas) ends the process with `os._exit(137)` at
the n-th passing of that place. Nothing is flushed, closed or committed: that is the point.
In production nothing is armed and a passing costs one dictionary look-up in an empty dict.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Final, NoReturn

# Every place, by the service that passes it. The chaos suite runs through all of them.
NAMES: Final[dict[str, tuple[str, ...]]] = {
    "ingest": (
        "ingest.polled",
        "ingest.processed",
        "ingest.begun",
        "ingest.produced",
        "ingest.offsets_sent",
        "ingest.committed",
    ),
    "validate": (
        "validate.polled",
        "validate.processed",
        "validate.begun",
        "validate.produced",
        "validate.offsets_sent",
        "validate.committed",
    ),
    "deliver": (
        "deliver.polled",
        "deliver.handed_out",
        "deliver.connected",
        "deliver.mail_sent",
        "deliver.data_sent",
        "deliver.final_reply",
        "deliver.settled",
        "deliver.begun",
        "deliver.produced",
        "deliver.offsets_sent",
        "deliver.committed",
    ),
    "billing": ("billing.polled", "billing.counted", "billing.applied"),
}
# The front door's, passed only by what comes by SMTP.
DOOR_NAMES: Final = (
    "ingest.door_taken",
    "ingest.door_reserved",
    "ingest.door_sent",
    "ingest.door_acknowledged",
)
_ALL: Final = frozenset(name for names in (*NAMES.values(), DOOR_NAMES) for name in names)

EXIT_CODE: Final = 137


class FailpointError(ValueError):
    """SLUICE_FAILPOINT could not be read; the text says what was found and expected."""


def _end_process(name: str) -> NoReturn:
    sys.stderr.write(f"failpoint {name}: ending this process\n")
    sys.stderr.flush()
    os._exit(EXIT_CODE)


class Failpoints:
    """Counts passings of armed places and ends the process at the one asked for."""

    def __init__(
        self, armed: Mapping[str, int] | None = None, end: Callable[[str], None] = _end_process
    ) -> None:
        self._left = dict(armed or {})
        self._end = end

    @classmethod
    def none(cls) -> Failpoints:
        """Failpoints of which none is armed."""
        return cls()

    @classmethod
    def parse(cls, text: str, end: Callable[[str], None] = _end_process) -> Failpoints:
        """Read `name:n[,name:n...]`; raises FailpointError naming what is wrong."""
        armed: dict[str, int] = {}
        for part in filter(None, (piece.strip() for piece in text.split(","))):
            name, _, count = part.partition(":")
            if name not in _ALL:
                raise FailpointError(f"SLUICE_FAILPOINT: no failpoint is named {name!r}")
            if not (count or "1").isdecimal() or int(count or "1") < 1:
                raise FailpointError(f"SLUICE_FAILPOINT: {part!r}: expected name:n, n from 1")
            armed[name] = int(count or "1")
        return cls(armed, end)

    def hit(self, name: str) -> None:
        """Pass the place `name`; ends the process when it is armed and its count is reached."""
        if not self._left or name not in self._left:
            return
        self._left[name] -= 1
        if self._left[name] == 0:
            self._end(name)
