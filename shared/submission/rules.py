"""Defines the rules R1 to R12 of the submission contract as a table, and applies them.

Each rule has an id, texts, an enhanced status code (RFC 3463, RFC 5248) and a check. The validate
service, the front door and `sluice check` use this module, so they judge a message in the same way.
The message is parsed by shared/mail/headers.py, addresses are parsed by shared/mail/address.py, and
the checks are in checks.py. This module does no I/O.

judge() never raises an exception, and reports every broken rule, in order. If the violation of one
rule makes it impossible to judge a second rule, the second rule is skipped. The message is refused
by the first rule. For example, R9 to R11 cannot be judged without a valid From. The page
docs/rules.md explains the rules, and a test compares that page with this table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct

from shared.mail.domains import organisational_domain
from shared.mail.headers import RAW_CHARS
from shared.mail.likely_mistakes import visible
from shared.submission import checks as breaches
from shared.submission.checks import (
    MAX_SIZE_BYTES,
    Breach,
    Case,
    Submission,
    case_of,
    effective_code,
)
from shared.topics.records import Facts, Violation

__all__ = [
    "MAX_SIZE_BYTES",
    "RULES",
    "RULES_VERSION",
    "UNREADABLE",
    "Rule",
    "Status",
    "Submission",
    "effective_code",
    "judge",
    "organisational_domain",
]

UNREADABLE: Final = "unreadable"


class Status(StrEnum):
    """The enhanced status codes with which the rules refuse messages."""

    BAD_RECIPIENT = "5.1.3"  # Bad destination mailbox address syntax.
    TOO_BIG = "5.3.4"  # Message too big for system.
    BAD_HEADER = "5.5.4"  # Invalid arguments: the attributes of the message are wrong.
    BAD_MESSAGE = "5.6.0"  # Media error: the message is malformed.
    NOT_AUTHORISED = "5.7.1"  # Delivery not authorised, message refused.


class Rule(Struct, frozen=True):
    """One rule: its requirement in one sentence, its status code, and the way to fix a
    violation."""

    id: str
    title: str
    reason: str
    status: str
    fix: str


_TABLE: Final[tuple[tuple[Rule, Callable[[Case], Breach]], ...]] = (
    (
        Rule(
            "R1",
            "The whole message is at most 300 KB",
            "The message is too large",
            Status.TOO_BIG.value,
            "Make pictures smaller or link to them",
        ),
        breaches.size,
    ),
    (
        Rule(
            "R2",
            "There is exactly one Message-ID, of the form <left@right>",
            "A message needs exactly one Message-ID of the form <left@right>",
            Status.BAD_MESSAGE.value,
            "Write one line such as Message-ID: <unique-text@news.example.com>",
        ),
        breaches.message_id,
    ),
    (
        Rule(
            "R3",
            "There is exactly one To header, with exactly one valid address: the recipient's",
            "A message needs exactly one To header with exactly one address, the recipient's",
            Status.BAD_RECIPIENT.value,
            "Send one message per recipient, with To: Name <recipient@example.com>",
        ),
        breaches.to,
    ),
    (
        Rule(
            "R4",
            "There is exactly one From header with exactly one valid address in the sending domain",
            "A message needs exactly one From header with one address in your sending domain",
            Status.NOT_AUTHORISED.value,
            "Write From: Name <name@your sending domain>; a sub-domain is not allowed",
        ),
        breaches.from_,
    ),
    (
        Rule(
            "R5",
            "There is no Cc and no Bcc header, not even an empty one",
            "Cc and Bcc headers are not allowed, not even empty ones",
            Status.BAD_MESSAGE.value,
            "Remove the header and send a separate message to each recipient",
        ),
        breaches.copies,
    ),
    (
        Rule(
            "R6",
            "There is exactly one Subject, and it shows something",
            "A message needs exactly one Subject that is not empty",
            Status.BAD_MESSAGE.value,
            "Write one Subject with at least one visible character",
        ),
        breaches.subject,
    ),
    (
        Rule(
            "R7",
            "There is at most one Reply-To",
            "A message may have at most one Reply-To header",
            Status.BAD_MESSAGE.value,
            "Keep one Reply-To line; it may contain several addresses",
        ),
        breaches.reply_to,
    ),
    (
        Rule(
            "R8",
            "The code header, where present, appears once and is an active code of this client",
            "The mailing code must appear once and be an active code of yours",
            Status.NOT_AUTHORISED.value,
            "Register the code, or leave it out everywhere to use your standard mailing",
        ),
        breaches.code,
    ),
    (
        Rule(
            "R9",
            "The envelope sender and the From address are identical",
            "The envelope sender must be the From address",
            Status.NOT_AUTHORISED.value,
            "Use exactly the address of the From header in MAIL FROM",
        ),
        breaches.same_sender,
    ),
    (
        Rule(
            "R10",
            "The domain of the envelope sender is the sending domain itself",
            "The envelope sender must be in your sending domain",
            Status.NOT_AUTHORISED.value,
            "Use an address in your sending domain in MAIL FROM; a sub-domain is not allowed",
        ),
        breaches.sender_domain,
    ),
    (
        Rule(
            "R11",
            "The organisational domains of the envelope sender and of From match",
            "The envelope sender and From must belong to the same organisational domain",
            Status.NOT_AUTHORISED.value,
            "Use your sending domain for both",
        ),
        breaches.organisation,
    ),
    (
        Rule(
            "R12",
            "There is no Return-Path header",
            "A Return-Path header is not allowed",
            Status.BAD_MESSAGE.value,
            "Remove the header; the receiving server adds it",
        ),
        breaches.return_path,
    ),
)

RULES: Final = tuple(rule for rule, _ in _TABLE)

# A short hash of the ids, texts and status codes of all rules.
RULES_VERSION: Final = hashlib.sha256(msgspec.json.encode(RULES)).hexdigest()[:8]


def judge(facts: Facts, submission: Submission) -> tuple[Violation, ...]:
    """Return the violations of the message, in the order of RULES. Return () if there are none.

    If the bytes are not a message (Facts.defect), the first violation is `unreadable`. The rules
    are judged in this case, too, so that missing headers are also reported.
    """
    case = case_of(facts, submission)
    broken: list[Violation] = []
    if facts.defect:
        reason = f"The record is not an RFC 5322 message: {facts.defect}"
        broken.append(Violation(UNREADABLE, reason, Status.BAD_MESSAGE.value))
    for rule, check in _TABLE:
        breach = check(case)
        if breach is not None:
            cause, found = breach
            reason = visible(f"{rule.reason}: {cause}" if cause else rule.reason)
            found = visible(found[:RAW_CHARS])
            broken.append(Violation(rule.id, reason, rule.status, found))
    return tuple(broken)
