"""How long the header scan and the rules take: `python -m bench.micro.rules [--json]`.

A newsletter of 10 KB with some 15 headers, as the message set has it. Beside it, in the same
run, Python's `email` package reads the same headers and addresses. Each figure is the quickest
of many short rounds: the machine may be busy with other work.
"""

from __future__ import annotations

import argparse
import email
import email.policy
import json
import sys
import timeit
from collections.abc import Callable
from typing import Final

from msgspec import Struct, to_builtins

from shared.mail.headers import scan
from shared.mail.rules import Submission, judge
from tests.messages import Sample, load

SAMPLE: Final = "html-newsletter-10kb.eml"
ROUNDS: Final = 100
_ROUND_S: Final = 0.002
_NEEDED: Final = ("from", "to", "subject", "message-id", "x-bm-mailing")


class Result(Struct, frozen=True):
    """Microseconds a message, and messages a second on one core."""

    message_bytes: int
    header_bytes: int
    header_lines: int
    scan_us: float
    scan_lf_us: float
    judge_us: float
    messages_per_s: int
    email_us: float
    ratio: float


def measure(sample: Sample) -> Result:
    """Scan, judge and both, and the peer, on one message."""
    content = sample.content
    client = sample.client
    codes = frozenset(client.codes)
    header_bytes = scan(content).header_bytes
    lf_only = content[:header_bytes].replace(b"\r\n", b"\n") + content[header_bytes:]
    facts = scan(content)

    def judge_it() -> None:
        judge(facts, Submission(client.sending_domain, facts.from_address, "", codes))

    def both() -> None:
        found = scan(content)
        sender, recipient = found.from_address, found.to_address
        if judge(found, Submission(client.sending_domain, sender, recipient, codes)):
            raise AssertionError("the sample breaks a rule")

    both_us = _quickest_us(both)
    email_us = _quickest_us(lambda: _read_by_email(content))
    return Result(
        message_bytes=len(content),
        header_bytes=header_bytes,
        header_lines=len(email.message_from_bytes(content).keys()),
        scan_us=_quickest_us(lambda: scan(content)),
        scan_lf_us=_quickest_us(lambda: scan(lf_only)),
        judge_us=_quickest_us(judge_it),
        messages_per_s=int(1_000_000 / both_us),
        email_us=email_us,
        ratio=round(email_us / both_us, 1),
    )


def _read_by_email(content: bytes) -> None:
    """What the scan reads, by the standard library: headers only, the body left alone."""
    message = email.message_from_bytes(
        content[: content.index(b"\r\n\r\n") + 4], policy=email.policy.default
    )
    for name in _NEEDED:
        value = message[name]
        if name in {"from", "to"}:
            len(value.addresses)


def _quickest_us(task: Callable[[], object]) -> float:
    number = max(1, int(_ROUND_S / min(timeit.repeat(task, number=1, repeat=3))))
    return round(min(timeit.repeat(task, number=number, repeat=ROUNDS)) / number * 1e6, 2)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    result = measure(next(sample for sample in load() if sample.name == SAMPLE))
    if options.json:
        print(json.dumps(to_builtins(result)))
        return 0
    print(f"{SAMPLE}: {result.message_bytes} bytes, {result.header_lines} headers")
    print(f"scan   {result.scan_us:8.2f} us  (LF line ends {result.scan_lf_us:.2f} us)")
    print(f"judge  {result.judge_us:8.2f} us")
    print(f"both   {result.messages_per_s:8d} messages/s a core")
    print(f"email  {result.email_us:8.2f} us  ({result.ratio} times scan and judge)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
