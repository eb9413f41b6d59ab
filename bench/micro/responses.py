"""The time of understanding returned mail: `./sluice bench responses [FOLDER] [--json]`.

The input is a folder of messages (`*.eml` at any depth): without one the samples of the tests, each
with the header fields that two relays add. In the same run, round by round, Python's `email`
package parses the same messages and decodes their texts: it finds no meaning, so it does less. The
figures are the fastest and the median round: the machine may be busy. Counting is not part of it
(`./sluice bench suppressions`).
"""

from __future__ import annotations

import email
import email.policy
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from bench.micro.figure import COLUMNS, Figure, per_second, row
from cli.table import PIPED_WIDTH, lay_out
from shared.responses.reading import understand
from shared.responses.rules.loading import load_rules

SAMPLES: Final = Path(__file__).resolve().parents[2] / "tests" / "golden" / "returned"
ROUNDS: Final = 15
MIN_MESSAGES_PER_S: Final = 2_000  # on one core
_PEER_SHARE: Final = 4  # the peer reads every fourth message, as it is slow

_HOP: Final = (
    "Received: from mx{0}.relay.example (mx{0}.relay.example [192.0.2.{0}])\n"
    "\tby in{0}.sender.example with ESMTPS id 4XkQ{0}z0000z9x\n"
    "\tfor <b+x1@sender.example>; Mon, 2 Mar 2026 09:00:0{0} +0000 (UTC)\n"
    "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=relay.example; s=s{0};\n"
    "\th=From:To:Subject:Date; bh={1};\n\tb={2}\n"
    "Authentication-Results: in.sender.example; spf=none; dkim=pass header.d=relay.example\n"
)
_RELAYED: Final = "".join(_HOP.format(hop, "Q" * 44, "R" * 344) for hop in (1, 2)).encode()


class Result(Struct, frozen=True):
    """All figures of a run; `meets_bar` uses the fastest round."""

    messages: int
    mean_bytes: int
    understanding: Figure
    email: Figure
    times_of_email: float
    meets_bar: bool


def load(folder: Path | None) -> list[bytes]:
    """The messages of a folder, or the samples of the tests as relays pass them on."""
    if folder is not None:
        return [path.read_bytes() for path in sorted(folder.rglob("*.eml")) if path.is_file()]
    return [_RELAYED + path.read_bytes() for path in sorted(SAMPLES.glob("*.eml"))]


def measure(messages: Sequence[bytes]) -> Result:
    """Measure understanding and the peer in turn."""
    rules = load_rules()
    some = messages[::_PEER_SHARE]
    ours, peers = [], []
    for round_number in range(ROUNDS + 1):
        taken = _taken_us(lambda: _each(lambda one: understand(one, rules), messages))
        taken_by_peer = _taken_us(lambda: _each(_read_by_email, some))
        if round_number:  # the first round warms up
            ours.append(taken / len(messages))
            peers.append(taken_by_peer / len(some))
    figure, peer = _figure(ours), _figure(peers)
    return Result(
        messages=len(messages),
        mean_bytes=sum(map(len, messages)) // len(messages),
        understanding=figure,
        email=peer,
        times_of_email=round(figure.min_us / peer.min_us, 2),
        meets_bar=per_second(figure.min_us) >= MIN_MESSAGES_PER_S,
    )


def described(result: Result, width: int = PIPED_WIDTH) -> str:
    """The result as a table that fits a terminal of this width."""
    rows = [
        ("understanding", result.understanding, f"at least {MIN_MESSAGES_PER_S}/s"),
        ("email: parse and decode", result.email, ""),
    ]
    cells = [row(name, figure, note, at_us=figure.min_us, digits=0) for name, figure, note in rows]
    return "\n".join(
        [
            f"{result.messages} messages of {result.mean_bytes} bytes in the mean",
            "",
            *lay_out(COLUMNS, cells, width),
            "",
            f"understanding takes {result.times_of_email} times as long as email; "
            f"the bar is {'met' if result.meets_bar else 'NOT met'}",
        ]
    )


def _each(read: Callable[[bytes], object], messages: Sequence[bytes]) -> None:
    for message in messages:
        read(message)


def _read_by_email(content: bytes) -> None:
    """Parse a message and decode what understanding looks at, with the standard library."""
    message = email.message_from_bytes(content, policy=email.policy.compat32)
    for name in ("from", "subject"):
        str(message.get(name, ""))
    for part in message.walk():
        if part.get_content_type() in ("text/plain", "text/html"):
            octets = part.get_payload(decode=True)
            assert isinstance(octets, bytes)
            octets.decode("utf-8", "replace")


def _taken_us(task: Callable[[], None]) -> float:
    begun = time.process_time_ns()
    task()
    return (time.process_time_ns() - begun) / 1_000


def _figure(taken: Sequence[float]) -> Figure:
    return Figure(round(min(taken), 1), round(statistics.median(taken), 1))
