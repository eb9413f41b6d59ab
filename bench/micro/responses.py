"""`./sluice bench responses [FOLDER] [--json]` measures the time that returned mail takes.

The input is a folder of messages (`*.eml` at any depth). Without a folder the samples of the tests
are used, each with the header fields that two relays add. Three steps are measured in turn. The
first step is to understand a message. The second step is to process a record of mail.returned: to
understand the message, and to make the event and the mail to the forwarding address. The third step
is to count the events. The requirement applies to the sum of the second and the third step
(described in returned_path.py). No step reads from Kafka or writes to Kafka or Redis. In each
round, Python's `email` package also parses the same messages and decodes their texts. The package
does less work, because it does not determine the meaning of a message. The figures are those of the
fastest and the median round, because the machine may be busy.
"""

from __future__ import annotations

import email
import email.policy
import gc
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from msgspec import Struct

from bench.measured import COLUMNS, Figure, per_second, row
from bench.micro import returned_path
from cli.terminal import PIPED_WIDTH, lay_out
from shared.responses.reading import understand
from shared.responses.rules.loading import load_rules

T = TypeVar("T")

SAMPLES: Final = Path(__file__).resolve().parents[2] / "tests" / "golden" / "returned"
ROUNDS: Final = 15
MIN_MESSAGES_PER_S: Final = 2_000  # The required rate on one core.
_PEER_SHARE: Final = 4  # The slow parser `email` reads every fourth message.

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
    """All figures of a run. `meets_bar` is computed from the fastest round."""

    messages: int
    mean_bytes: int
    understanding: Figure
    processing: Figure  # Understanding, making the event and the forwarded mail.
    counting: Figure
    in_all: Figure  # Processing and counting.
    email: Figure
    times_of_email: float  # The time of understanding, divided by the time of `email`.
    meets_bar: bool


def load(folder: Path | None) -> list[bytes]:
    """Return the messages of a folder, or the samples of the tests with the fields of two
    relays."""
    if folder is not None:
        return [path.read_bytes() for path in sorted(folder.rglob("*.eml")) if path.is_file()]
    return [_RELAYED + path.read_bytes() for path in sorted(SAMPLES.glob("*.eml"))]


def measure(messages: Sequence[bytes]) -> Result:
    """Measure the steps and Python's `email` package in turn."""
    rules = load_rules()
    processor = returned_path.processor_of(rules)
    records = returned_path.records_of(messages, rules)
    some = messages[::_PEER_SHARE]
    number = len(messages)
    _calm_collector()
    taken: list[tuple[float, ...]] = []
    for _ in range(ROUNDS + 1):
        understood, _ = _taken_us(lambda: _each(lambda one: understand(one, rules), messages))
        processed, written = _taken_us(lambda: returned_path.process(processor, records))
        events = returned_path.events_of(written)
        counted, _ = _taken_us(partial(returned_path.count, events))
        peer, _ = _taken_us(lambda: _each(_read_by_email, some))
        ours = (understood, processed, counted, processed + counted)
        taken.append((*(each / number for each in ours), peer / len(some)))
    figures = [_figure(each) for each in zip(*taken[1:], strict=True)]  # the first round warms up
    understanding, processing, counting, in_all, email_figure = figures
    return Result(
        messages=number,
        mean_bytes=sum(map(len, messages)) // number,
        understanding=understanding,
        processing=processing,
        counting=counting,
        in_all=in_all,
        email=email_figure,
        times_of_email=round(understanding.min_us / email_figure.min_us, 2),
        meets_bar=per_second(in_all.min_us) >= MIN_MESSAGES_PER_S,
    )


def described(result: Result, width: int = PIPED_WIDTH) -> str:
    """Return the result as a table that fits a terminal of this width."""
    rows = [
        ("understanding", result.understanding, ""),
        ("with event and forwarding", result.processing, ""),
        ("counting", result.counting, ""),
        ("in all", result.in_all, f"at least {MIN_MESSAGES_PER_S}/s"),
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
            f"the requirement is {'met' if result.meets_bar else 'NOT met'}",
        ]
    )


def _calm_collector() -> None:
    """Configure the cyclic garbage collector as in a service (shared/runtime/service_cli.py)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _each(read: Callable[[bytes], object], messages: Sequence[bytes]) -> None:
    for message in messages:
        read(message)


def _read_by_email(content: bytes) -> None:
    """Parse a message and decode the parts that understanding reads, with the standard library."""
    message = email.message_from_bytes(content, policy=email.policy.compat32)
    for name in ("from", "subject"):
        str(message.get(name, ""))
    for part in message.walk():
        if part.get_content_type() in ("text/plain", "text/html"):
            octets = part.get_payload(decode=True)
            assert isinstance(octets, bytes)
            octets.decode("utf-8", "replace")


def _taken_us(task: Callable[[], T]) -> tuple[float, T]:
    begun = time.process_time_ns()
    found = task()
    return (time.process_time_ns() - begun) / 1_000, found


def _figure(taken: Sequence[float]) -> Figure:
    return Figure(round(min(taken), 1), round(statistics.median(taken), 1))
