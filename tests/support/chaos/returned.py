"""Returned mail of a chaos run: the published records, and their expected effects.

Pure, except the publisher. A victim gets enough reports, each on a different message, to be
suppressed. Other recipients get fewer reports, more copies of each, and forged reports.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from shared.mail import verp
from shared.stream.client import ClientOptions, make_producer
from shared.topics import ids, names
from shared.topics.codec import encode_returned
from shared.topics.records import EventType, ReturnAddressKind, Returned
from tests.support.chaos import mixture
from tests.support.chaos.mixture import Submission
from tests.support.returned_mail import delivery_report, feedback_report

LIMIT: Final = 3
AT_MS: Final = 1_795_000_000_000
_PART: Final = 20
BOUNCING: Final = tuple(each for each in mixture.FATES if each.expected is EventType.BOUNCED)
_BOUNCED_SHARE: Final = 10
_OTHER: Final = 1_000_000_007


class Plan(Struct, frozen=True):
    """The mail and the returned mail of a run, and the outcome.

    `bounces` is the number of submissions that the deliver service itself bounces and reports.
    """

    submissions: Sequence[Submission]
    bounces: int
    returned: Sequence[tuple[Returned, bytes]]
    hard: dict[tuple[str, str], int]  # by client and recipient
    suppressed: frozenset[tuple[str, str, str]]  # client, recipient, reason


def plan(run: str, seed: int, count: int) -> Plan:
    """Return a plan with `count` messages; a third of the recipients get no message."""
    random = Random(seed)
    submissions = list(mixture.mix(run, seed, count, fates=mixture.FATES[:1]))
    returned: list[tuple[Returned, bytes]] = []
    hard: dict[tuple[str, str], int] = {}
    suppressed: set[tuple[str, str, str]] = set()
    for number, each in enumerate(submissions):
        promise = each.promise
        client, recipient = promise.client, promise.rcpt
        made = _Reports(client, recipient, random)
        match number % 6:
            case 0:
                made.bounce(LIMIT + random.randrange(2))
                suppressed.add((client, recipient, "hard_bounces"))
            case 3:
                made.complain()
                suppressed.add((client, recipient, "complaint"))
            case 1:
                made.bounce(LIMIT - 1)
                made.forge(LIMIT)
            case _:
                continue
        returned += made.reports
        hard[client, recipient] = made.messages
        if number % 3 == 0:
            submissions[number] = replace(
                each, promise=replace(promise, expected=EventType.SUPPRESSED)
            )
    random.shuffle(returned)
    given_up = list(mixture.mix(run, seed + _OTHER, count // _BOUNCED_SHARE, fates=BOUNCING))
    submissions += given_up
    random.shuffle(submissions)
    return Plan(submissions, len(given_up), returned, hard, frozenset(suppressed))


class _Reports:
    """The reports on one recipient."""

    def __init__(self, client: str, recipient: str, random: Random) -> None:
        self._client = client
        self._recipient = recipient
        self._random = random
        self.reports: list[tuple[Returned, bytes]] = []
        self.messages = 0

    def bounce(self, messages: int) -> None:
        """Bounce so many messages, each with one to three reports."""
        for _ in range(messages):
            mail_id = self._id()
            self.messages += 1
            for _ in range(1 + self._random.randrange(3)):
                self._add(mail_id, self._recipient, delivery_report(self._recipient))

    def complain(self) -> None:
        for _ in range(2):
            self._add(self._id(), self._recipient, feedback_report(self._recipient))

    def forge(self, reports: int) -> None:
        """Report on the recipient, to the return paths of messages to somebody else."""
        for _ in range(reports):
            self._add(self._id(), "attacker@evil.example", delivery_report(self._recipient))

    def _id(self) -> str:
        return ids.encode((AT_MS << 80) | self._random.getrandbits(80))

    def _add(self, mail_id: str, real: str, content: bytes) -> None:
        returned = Returned(
            return_id=self._id(),
            client=self._client,
            recipient="",
            sender="",
            received_at_ms=AT_MS,
            address_kind=ReturnAddressKind.RETURN_PATH,
            mail_id=mail_id,
            recipient_hash=verp.recipient_hash(mail_id, real),
        )
        self.reports.append((returned, content))


def publish(bootstrap: str, returned: Sequence[tuple[Returned, bytes]]) -> None:
    """Write returned mail as the bounce door does."""
    producer = make_producer(ClientOptions(bootstrap, "test"), None)
    for each, content in returned:
        key, headers = encode_returned(each)
        producer.send(names.RETURNED, content, key, list(headers))
    producer.flush()
    producer.close()


def parts(
    returned: Sequence[tuple[Returned, bytes]],
) -> list[Sequence[tuple[Returned, bytes]]]:
    """Return the returned mail in parts, between which a fault may occur."""
    return [returned[start : start + _PART] for start in range(0, len(returned), _PART)]
