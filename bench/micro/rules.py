"""`./sluice bench rules [--json]` measures the time of the header scan and the rules.

The input is the 10 KB newsletter of the message set with about 15 headers. Copies of the newsletter
are addressed to 500 recipients in 50 domains, so that no cache holds all recipients. In the same
run two other parsers read the same headers and addresses. These parsers are Python's `email`
package and Rust's mailparse (fast-mail-parser). The figures are the fastest and the median of many
short rounds, because the machine may be busy.
"""

from __future__ import annotations

import email
import email.policy
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Final

from fast_mail_parser import parse_email
from msgspec import Struct

from bench.measured import COLUMNS, Figure, per_second, row
from cli.terminal import PIPED_WIDTH, lay_out
from shared.mail.headers import scan
from shared.submission.rules import Submission, judge
from tests.messages import Sample, load

SAMPLE: Final = "html-newsletter-10kb.eml"
ROUNDS: Final = 60
RECIPIENTS: Final = 500
DOMAINS: Final = 50
MIN_MESSAGES_PER_S: Final = 25_000  # The required rate of scan and rules together, on one core.
MAX_SCAN_US: Final = 20.0
_PEER_MESSAGES: Final = 25  # The messages per round. They are few, because the peers are slow.
_NEEDED: Final = ("from", "to", "subject", "message-id", "x-bm-mailing")


class Result(Struct, frozen=True):
    """All figures of a run. `meets_bar` is computed from the medians."""

    message_bytes: int
    header_bytes: int
    header_lines: int
    scan: Figure
    scan_lf: Figure
    judge: Figure
    both: Figure
    email: Figure
    mailparse: Figure
    messages_per_s: int
    meets_bar: bool


def measure() -> Result:
    """Measure the scan, the rules, both together, and the other parsers."""
    sample = next(sample for sample in load() if sample.name == SAMPLE)
    messages = _messages(sample)
    codes = frozenset(sample.client.codes)
    domain = sample.client.sending_domain
    facts = [scan(message) for message in messages]
    submissions = [Submission(domain, one.from_address, one.to_address, codes) for one in facts]

    def scan_all() -> None:
        for message in messages:
            scan(message)

    def scan_lf() -> None:
        for message in lf_only:
            scan(message)

    def judge_all() -> None:
        for one, submission in zip(facts, submissions, strict=True):
            judge(one, submission)

    def both() -> None:
        for message in messages:
            found = scan(message)
            submission = Submission(domain, found.from_address, found.to_address, codes)
            if judge(found, submission):
                raise AssertionError("the sample breaks a rule")

    lf_only = [message.replace(b"\r\n", b"\n") for message in messages]
    scanned, done = _timed(scan_all, RECIPIENTS), _timed(both, RECIPIENTS)
    messages_per_s = per_second(done.median_us)
    return Result(
        message_bytes=len(messages[0]),
        header_bytes=facts[0].header_bytes,
        header_lines=len(email.message_from_bytes(messages[0]).keys()),
        scan=scanned,
        scan_lf=_timed(scan_lf, RECIPIENTS),
        judge=_timed(judge_all, RECIPIENTS),
        both=done,
        email=_timed(lambda: _each(_read_by_email, messages), _PEER_MESSAGES),
        mailparse=_timed(lambda: _each(_read_by_mailparse, messages), _PEER_MESSAGES),
        messages_per_s=messages_per_s,
        meets_bar=messages_per_s >= MIN_MESSAGES_PER_S and scanned.median_us < MAX_SCAN_US,
    )


def described(result: Result, width: int = PIPED_WIDTH) -> str:
    """Return the result as a table that fits a terminal of this width."""
    rows = [
        ("scan", result.scan, f"median under {MAX_SCAN_US:.0f} us"),
        ("scan, LF line ends", result.scan_lf, ""),
        ("judge", result.judge, ""),
        ("scan and judge", result.both, f"at least {MIN_MESSAGES_PER_S}/s"),
        ("email, headers only", result.email, ""),
        ("mailparse, headers only", result.mailparse, ""),
    ]
    cells = [
        row(name, figure, note, at_us=figure.median_us, digits=2) for name, figure, note in rows
    ]
    return "\n".join(
        [
            f"{SAMPLE}: {result.message_bytes} bytes, {result.header_lines} headers, "
            f"{RECIPIENTS} recipients",
            "",
            *lay_out(COLUMNS, cells, width),
            "",
            f"the requirement is {'met' if result.meets_bar else 'NOT met'}",
        ]
    )


def _messages(sample: Sample) -> list[bytes]:
    """Return copies of the sample, each with a different recipient and Message-ID."""
    facts = scan(sample.content)
    address, message_id = facts.to_address.encode(), facts.message_id.encode()
    made = []
    for number in range(RECIPIENTS):
        recipient = b"kunde.%d@firma-%d.example" % (number, number % DOMAINS)
        one = sample.content.replace(address, recipient, 1)
        made.append(one.replace(message_id, b"<%d.%b" % (number, message_id[1:]), 1))
    return made


def _each(read: Callable[[bytes], None], messages: Sequence[bytes]) -> None:
    for message in messages[:_PEER_MESSAGES]:
        read(message[: message.index(b"\r\n\r\n") + 4])


def _read_by_email(header: bytes) -> None:
    """Read the same fields as the scan, with the standard library."""
    message = email.message_from_bytes(header, policy=email.policy.default)
    for name in _NEEDED:
        value = message[name]
        if name in {"from", "to"}:
            len(value.addresses)


def _read_by_mailparse(header: bytes) -> None:
    """Read the same fields as the scan, with Rust's mailparse."""
    mail = parse_email(header)
    assert mail.from_ is not None
    len(mail.to)
    len(mail.headers)


def _timed(task: Callable[[], None], messages: int) -> Figure:
    """Run a function, and return the CPU time of this process per message in microseconds."""
    task()
    taken = []
    for _ in range(ROUNDS):
        begun = time.process_time_ns()
        task()
        taken.append((time.process_time_ns() - begun) / messages / 1_000)
    return Figure(round(min(taken), 2), round(statistics.median(taken), 2))
