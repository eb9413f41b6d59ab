"""Measures the bounce door's time per recipient: `./sluice bench recipients [--json]`.

The session and the policy of the bounce door convert the bytes of RCPT commands to the bytes of the
replies, without sockets and without the limit on errors. The keys, the look-up of clients and the
counting use the code of the ingest service. The outbox is a test outbox, which only stores the
messages.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from tests.support.bounce_door import DOMAIN, local_part
from tests.support.bounce_session import TODAY, BounceDialog, BounceDoor

MAX_FORGED_US: Final = 40.0
# This many commands are passed to the session at once. A peer that does not wait for replies sends
# commands in this way.
_AT_ONCE: Final = 50
_SEED: Final = 1
_LETTERS: Final = "0123456789abcdefghijklmnopqrstuv"
_OF_FORGED: Final = 10  # The other kinds have a tenth of the recipients.


class Row(Struct, frozen=True):
    """One kind of recipient. `each_us` is the CPU time of one recipient. `written` is the number of
    records for Kafka."""

    kind: str
    count: int
    each_us: float
    accepted: int
    written: int


class Result(Struct, frozen=True):
    """All rows. `meets_bar` is True if the rows of forged recipients meet the requirement."""

    rows: tuple[Row, ...]
    meets_bar: bool


def measure(count: int) -> Result:
    """Measure `count` forged recipients, and fewer recipients of the other kinds."""
    draw = random.Random(_SEED)
    right, expired = local_part(TODAY), local_part(TODAY - 400)

    def forged() -> str:
        return f"rp={''.join(draw.choices(_LETTERS, k=60))}0@{DOMAIN}"

    def forged_tail() -> str:
        # The address contains an existing key and a valid day, so the HMAC has to be computed.
        return f"{right[:-13]}{''.join(draw.choices(_LETTERS, k=12))}0@{DOMAIN}"

    fewer = count // _OF_FORGED
    rows = (
        _measured("forged", forged, count // 2),
        _measured("forged, with an existing key", forged_tail, count - count // 2),
        _measured("expired", lambda: f"{expired}@{DOMAIN}", fewer),
        _measured("domain of nobody", lambda: f"a@{draw.randrange(10**9)}.example", fewer),
        _measured("verified", lambda: f"{right}@{DOMAIN}", fewer),
        _measured("From address", lambda: f"n{draw.randrange(10**9)}@{DOMAIN}", fewer),
    )
    bad = rows[:2]
    meets_bar = all(row.each_us < MAX_FORGED_US and not row.written for row in bad)
    return Result(rows, meets_bar)


def described(result: Result) -> str:
    """Return the result as a table."""
    lines = [f"{'recipient':<30}{'count':>10}{'us each':>9}{'accepted':>10}{'written':>9}"]
    lines += [
        f"{row.kind:<30}{row.count:>10}{row.each_us:>9.1f}{row.accepted:>10}{row.written:>9}"
        for row in result.rows
    ]
    bar = "met" if result.meets_bar else "NOT met"
    return "\n".join([*lines, "", f"the requirement of {MAX_FORGED_US:.0f} us is {bar}"])


def _measured(kind: str, make: Callable[[], str], count: int) -> Row:
    door = BounceDoor()
    options = replace(door.context.server.options, max_errors=10**9, max_recipients=10**9)
    door.context = replace(door.context, server=replace(door.context.server, options=options))
    taken_ns, accepted = 0, 0
    for some in _slices(count):
        # Each slice uses a new connection, so that the list of accepted recipients stays short.
        dialog = BounceDialog(door)
        dialog.codes("MAIL FROM:<>")
        data = "".join(f"RCPT TO:<{make()}>\r\n" for _ in range(some)).encode()
        begun = time.process_time_ns()
        dialog.send(data)
        output = dialog.session.take_output()
        taken_ns += time.process_time_ns() - begun
        accepted += output.count(b"250 2.1.5")
        dialog.policy.connection_lost()
        dialog.slot.release()
    return Row(kind, count, round(taken_ns / count / 1_000, 1), accepted, len(door.outbox.mail))


def _slices(count: int) -> Iterator[int]:
    for begun in range(0, count, _AT_ONCE):
        yield min(_AT_ONCE, count - begun)
