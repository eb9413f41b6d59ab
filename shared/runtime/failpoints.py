"""Defines failpoints: named points at which a test can end the process as kill -9 would.

`SLUICE_FAILPOINT=name:n` ends the process with `os._exit(137)` when the process reaches this
failpoint for the n-th time. Commas separate several failpoints. Deliberately, nothing is flushed,
closed or committed. In production no failpoint is armed, and hit() costs one check of an empty
dict.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Final, NoReturn

from shared.runtime.errors import Exit

# All failpoints by service. The chaos suite tests every one of them.
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
# The failpoints before and after the commit that marks messages as offered. The messages are
# offered to a server after this commit. The process reaches these failpoints only for messages that
# are held for an operator if they are in doubt.
HOLD_NAMES: Final = ("deliver.naming", "deliver.named")
# The failpoints of the front door. Only submissions over SMTP reach them.
DOOR_NAMES: Final = (
    "ingest.door_taken",
    "ingest.door_reserved",
    "ingest.door_sent",
    "ingest.door_acknowledged",
)
# The failpoints of the bounce door. Only returned mail reaches them.
BOUNCE_DOOR_NAMES: Final = (
    "ingest.bounce_taken",
    "ingest.bounce_sent",
    "ingest.bounce_acknowledged",
)
# The failpoints of closing a month and of checkpoints; normal mail traffic does not reach them.
BOOKS_NAMES: Final = (
    "billing.closing",
    "billing.part_written",
    "billing.closed",
    "billing.checkpointing",
    "billing.checkpointed",
)
# The failpoints of counting bounces. A process reaches them only if validate.counts_bounces is on.
RESPONSES_NAMES: Final = (
    "responses.polled",
    "responses.counted",
    "responses.begun",
    "responses.produced",
    "responses.offsets_sent",
    "responses.committed",
    "responses.applied",
)
# The failpoints of reading returned mail. Only returned mail reaches them.
RETURNS_NAMES: Final = (
    "returns.polled",
    "returns.processed",
    "returns.begun",
    "returns.produced",
    "returns.offsets_sent",
    "returns.committed",
)
# The failpoints of counting the reputation of sources and clients. Only one process of the deliver
# service counts the reputation, so only this process reaches these failpoints.
REPUTATION_NAMES: Final = (
    "reputation.begun",
    "reputation.produced",
    "reputation.offsets_sent",
    "reputation.committed",
)
# The failpoints of the API for platforms. Only API requests that write reach them.
API_NAMES: Final = (
    "api.taken",
    "api.sent",
    "api.acknowledged",
)
_ALL: Final = frozenset(
    name
    for names in (
        *NAMES.values(),
        HOLD_NAMES,
        DOOR_NAMES,
        BOUNCE_DOOR_NAMES,
        BOOKS_NAMES,
        RESPONSES_NAMES,
        RETURNS_NAMES,
        REPUTATION_NAMES,
        API_NAMES,
    )
    for name in names
)

EXIT_CODE: Final = Exit.KILLED


class FailpointError(ValueError):
    """SLUICE_FAILPOINT cannot be parsed; the text gives the reason."""


def _end_process(name: str) -> NoReturn:
    sys.stderr.write(f"failpoint {name}: ending this process\n")
    sys.stderr.flush()
    os._exit(EXIT_CODE)


class Failpoints:
    """Counts how often armed failpoints are reached; ends the process at the configured count."""

    def __init__(
        self, armed: Mapping[str, int] | None = None, end: Callable[[str], None] = _end_process
    ) -> None:
        self._left = dict(armed or {})
        self._end = end

    @classmethod
    def none(cls) -> Failpoints:
        """Return Failpoints without an armed failpoint."""
        return cls()

    @classmethod
    def parse(cls, text: str, end: Callable[[str], None] = _end_process) -> Failpoints:
        """Parse `name:n[,name:n...]`. Raises FailpointError."""
        armed: dict[str, int] = {}
        for part in filter(None, (piece.strip() for piece in text.split(","))):
            name, _, count = part.partition(":")
            if name not in _ALL:
                raise FailpointError(f"SLUICE_FAILPOINT: no failpoint is named {name!r}")
            if not (count or "1").isdecimal() or int(count or "1") < 1:
                raise FailpointError(f"SLUICE_FAILPOINT: {part!r} is not name:n with n from 1")
            armed[name] = int(count or "1")
        return cls(armed, end)

    def hit(self, name: str) -> None:
        """Count a pass of the failpoint `name`; end the process at the configured count."""
        if not self._left or name not in self._left:
            return
        self._left[name] -= 1
        if self._left[name] == 0:
            self._end(name)
