"""Chooses the answers of the sink by the recipient's local part. Does no I/O.

| local part | answer |
| --- | --- |
| `defer-<n>-...` | 451 4.7.1 after DATA to the first n attempts of that recipient and message |
| `bounce-...` | 550 5.1.1 at RCPT |
| `full-...` | 452 4.2.2 at RCPT, always |
| `policy-...` | 550 5.7.1 after DATA |
| `tarpit-...` | accepted, every answer from RCPT on is delayed by a second |
| `slow-<ms>-...` | accepted, the answer after DATA is delayed by `<ms>` ms (at most 10 min) |
| `return-...` | accepted; then a delivery report (5.1.1) comes back to the return path |
| `complain-...` | accepted; then a complaint comes back to the return path |
| `drop-...` | first attempt: closes the connection instead of answering after DATA; then accepted |
| anything else | accepted |
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct

from shared.smtp.reply import Reply

TARPIT_S: Final = 1.0
# Attempts are counted for at most this many pairs of recipient and message. The oldest pairs are
# removed first.
MAX_REMEMBERED: Final = 1_000_000

# The answers by recipient, as `up` prints them.
ADDRESSES: Final = (
    ("bounce-NAME@...", "bounces: 550 5.1.1 to RCPT"),
    ("policy-NAME@...", "bounces: 550 5.7.1 after DATA"),
    ("full-NAME@...", "is deferred until it expires: 452 4.2.2 to RCPT"),
    ("defer-N-NAME@...", "is deferred N times: 451 4.7.1 after DATA"),
    ("drop-NAME@...", "is in doubt once: the connection closes after DATA"),
    ("tarpit-NAME@...", "is accepted, each reply a second late"),
    ("slow-MS-NAME@...", "is accepted, the reply after DATA MS milliseconds late"),
    ("return-NAME@...", "is accepted, then a delivery report comes back: 5.1.1"),
    ("complain-NAME@...", "is accepted, then a complaint comes back"),
    ("NAME@...", "is accepted"),
)

_UNKNOWN: Final = Reply(550, "5.1.1", "No such mailbox")
_FULL: Final = Reply(452, "4.2.2", "Mailbox full")
_POLICY: Final = Reply(550, "5.7.1", "Refused as spam")
_GREYLISTED: Final = Reply(451, "4.7.1", "Greylisted, try again later")
_DEFER: Final = re.compile(r"defer-([0-9]{1,6})-")
_SLOW: Final = re.compile(r"slow-([0-9]{1,6})-")
MAX_SLOW_MS: Final = 600_000


class Verdict(StrEnum):
    """The verdicts in the journal."""

    ACCEPTED = "accepted"
    DEFERRED = "deferred"
    BOUNCED = "bounced"
    DROPPED = "dropped"


class Decision(Struct, frozen=True):
    """The decision on a message. If `reply` is None, the connection is closed instead of a
    reply."""

    verdict: Verdict
    reply: Reply | None


def judge_recipient(address: str) -> Decision | None:
    """Return the refusal of a recipient at RCPT. Return None if the recipient is accepted."""
    if address.startswith("bounce-"):
        return Decision(Verdict.BOUNCED, _UNKNOWN)
    if address.startswith("full-"):
        return Decision(Verdict.DEFERRED, _FULL)
    return None


def delay_s(address: str) -> float:
    """Return the delay of each answer from RCPT on."""
    return TARPIT_S if address.startswith("tarpit-") else 0.0


def dot_delay_s(address: str) -> float:
    """Return the delay of the answer after DATA, in addition to delay_s()."""
    slow = _SLOW.match(address)
    return min(int(slow[1]), MAX_SLOW_MS) / 1000 if slow else 0.0


class Behaviour:
    """Judges messages. Its only state is the number of attempts for each message and recipient."""

    def __init__(self, max_remembered: int = MAX_REMEMBERED) -> None:
        self._attempts: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._max_remembered = max_remembered
        self._accepted = 0

    def judge_content(self, recipients: Sequence[str], message_id: str) -> Decision:
        """Return the answer after DATA. If the content is refused for some recipients, return the
        first refusal."""
        for address in recipients:
            refusal = self._judge(address, message_id)
            if refusal is not None:
                return refusal
        return self.accept()

    def accept(self) -> Decision:
        """Return the answer to an accepted message."""
        self._accepted += 1
        reply = Reply(250, "2.0.0", f"Ok: queued as {self._accepted:X}")
        return Decision(Verdict.ACCEPTED, reply)

    def _judge(self, address: str, message_id: str) -> Decision | None:
        if address.startswith("policy-"):
            return Decision(Verdict.BOUNCED, _POLICY)
        if address.startswith("drop-"):
            first = self._attempt(address, message_id) == 1
            return Decision(Verdict.DROPPED, None) if first else None
        deferrals = _DEFER.match(address)
        if deferrals and self._attempt(address, message_id) <= int(deferrals[1]):
            return Decision(Verdict.DEFERRED, _GREYLISTED)
        return None

    def _attempt(self, address: str, message_id: str) -> int:
        key = (address, message_id)
        count = self._attempts.get(key, 0) + 1
        self._attempts[key] = count
        if len(self._attempts) > self._max_remembered:
            self._attempts.popitem(last=False)
        return count
