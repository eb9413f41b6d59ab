"""Messages of mixed fates from a seed: the submissions and their expected fates.

Pure. Every message has a unique token in its Message-ID and in its recipient's local
part, so that each account of the run (journal, events, sink) can be matched to it. The fates
follow the sink's prefixes (local/sink): `defer-1-`, `bounce-`, `policy-`, all others accepted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Final

from msgspec import Struct

from shared.topics.names import intake
from shared.topics.records import EventType
from tests.support.chaos.evidence import Promise

# Recipients use a few domains, as in real lists; the name of the run makes them unique.
RECIPIENT_DOMAINS: Final = 7

# The block list of the clients of a run.
BLOCKED_PATTERN: Final = "blocked-*"


class Sender(Struct, frozen=True):
    """One stream of mail: a client, one of its codes (or none), and the cell that counts it."""

    client: str
    domain: str
    mailing_id: str
    sub_client: str = ""
    code: str = ""


class Submission(Struct, frozen=True):
    """One message to submit and the promise it becomes once acknowledged."""

    topic: str
    content: bytes
    promise: Promise


class Fate(Struct, frozen=True):
    """The share of a fate in percent, and the recipient prefix that causes it."""

    weight: int
    prefix: str
    expected: EventType


AT_ONCE: Final = "ok-"
FATES: Final = (
    Fate(84, AT_ONCE, EventType.DELIVERED),
    Fate(4, "defer-1-", EventType.DELIVERED),
    Fate(4, "bounce-", EventType.BOUNCED),
    Fate(2, "policy-", EventType.BOUNCED),
    Fate(4, "broken-", EventType.REFUSED),
    Fate(2, "blocked-", EventType.SUPPRESSED),
)

# Destinations that reply to DATA after 0.02 and 15 s, and also after 30 s. At 150 messages/s on
# one process, less than half of the messages it may have in flight wait for them.
SLOW_FATES: Final = (
    Fate(67, AT_ONCE, EventType.DELIVERED),
    Fate(15, "slow-20-", EventType.DELIVERED),
    Fate(2, "slow-15000-", EventType.DELIVERED),
    *FATES[1:],
)
SLOWEST_FATES: Final = (
    Fate(67, AT_ONCE, EventType.DELIVERED),
    Fate(15, "slow-20-", EventType.DELIVERED),
    Fate(1, "slow-15000-", EventType.DELIVERED),
    Fate(1, "slow-30000-", EventType.DELIVERED),
    *FATES[1:],
)
BY_SLOWEST_S: Final = {0: FATES, 15: SLOW_FATES, 30: SLOWEST_FATES}

# Header lines to add, each of which breaks a rule; {domain} is the sending domain.
_BREAKS: Final = (
    "Subject:",  # R6, replaces the valid one
    "From: Other <other@elsewhere.example>",  # R4, a second From
    "To: second@elsewhere.example",  # R3
    "Cc: copy@elsewhere.example",  # R5
    "Bcc:",  # R5, empty
    "Reply-To: a@{domain}\r\nReply-To: b@{domain}",  # R7
    "X-bm-mailing: no-such-code",  # R8, replaces the valid one
    "Return-Path: <back@{domain}>",  # R12
)

_WORDS: Final = b"The quick brown fox jumps over the lazy dog and asks for its newsletter.\r\n"


def senders(run: str) -> tuple[Sender, ...]:
    """Two clients of this run: one with only its standard mailing, one also with two codes."""
    plain, coded = f"{run}-a", f"{run}-b"
    return (
        Sender(plain, f"{plain}.example.com", "standard-a"),
        Sender(coded, f"{coded}.example.com", "standard-b"),
        Sender(coded, f"{coded}.example.com", "weekly", "north", "weekly-north"),
        Sender(coded, f"{coded}.example.com", "weekly", "south", "weekly-south"),
    )


def recipient_suffix(run: str) -> str:
    """Return the end of every recipient address of this run, which identifies its sink lines."""
    return f".{run}.example.net"


def mix(
    run: str,
    seed: int,
    count: int,
    size_bytes: int = 600,
    fates: Sequence[Fate] = FATES,
) -> Iterator[Submission]:
    """Return `count` submissions of mixed fates, the same for the same seed."""
    random = Random(seed)
    streams = senders(run)
    weights = [fate.weight for fate in fates]
    for number in range(count):
        fate = random.choices(fates, weights)[0]
        sender = random.choice(streams)
        yield _submission(run, f"{seed}-{number}", fate, sender, random.choice(_BREAKS), size_bytes)


def uniform(
    run: str, count: int, size_bytes: int, random: Random, fate: Fate = FATES[0]
) -> Iterator[Submission]:
    """Return `count` ordinary messages of one fate, of about `size_bytes` each."""
    streams = senders(run)
    for number in range(count):
        token = f"{random.randrange(16**4):04x}-{number}"
        yield _submission(run, token, fate, random.choice(streams), "", size_bytes)


def _submission(
    run: str, token: str, fate: Fate, sender: Sender, broken: str, size_bytes: int
) -> Submission:
    rcpt = f"{fate.prefix}{token}@m{hash_of(token) % RECIPIENT_DOMAINS}{recipient_suffix(run)}"
    message_id = f"{token}@{sender.domain}"
    extra = broken.format(domain=sender.domain) if fate.expected is EventType.REFUSED else ""
    promise = Promise(
        message_id=f"<{message_id}>",
        rcpt=rcpt,
        client=sender.client,
        mailing_id=sender.mailing_id,
        sub_client=sender.sub_client,
        expected=fate.expected,
        topic=intake(sender.client),
    )
    content = _content(promise, sender, extra, size_bytes)
    return Submission(promise.topic, content, promise)


def hash_of(token: str) -> int:
    """Return a hash that is the same in every process, unlike Python's own hash."""
    return sum(ord(letter) * (place + 1) for place, letter in enumerate(token))


def _content(promise: Promise, sender: Sender, extra: str, size_bytes: int) -> bytes:
    headers = {
        "From": f"News <news@{sender.domain}>",
        "To": promise.rcpt,
        "Subject": f"Issue for {promise.rcpt.partition('@')[0]}",
        "Message-ID": promise.message_id,
        "Date": "Mon, 23 Nov 2026 10:00:00 +0000",
        "MIME-Version": "1.0",
        "Content-Type": "text/plain; charset=utf-8",
    }
    if sender.code:
        headers["X-bm-mailing"] = sender.code
    if extra.startswith(("Subject", "X-bm-mailing")):
        headers.pop(extra.partition(":")[0], None)
    lines = [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join([*lines, *([extra] if extra else []), "", ""]).encode()
    body = _WORDS * max(1, (size_bytes - len(head)) // len(_WORDS))
    return head + body


def topics_of(submissions: Sequence[Submission]) -> frozenset[str]:
    """Return the intake topics of these submissions."""
    return frozenset(submission.topic for submission in submissions)
