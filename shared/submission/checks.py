"""Checks messages by the rules R1 to R12, with one function per rule. This module does no I/O.

This module owns the checks and the texts that describe a fault. The ids, texts, codes and order of
the rules are in rules.py. Each function takes a Case. The function returns None if the message
follows the rule. Otherwise the function returns the cause and the value that was found. The cause
and the value may contain text from the client.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Final

from msgspec import Struct

from shared.mail import domains
from shared.mail.address import ParsedAddress, parse_path, parse_single
from shared.mail.address_faults import AddressFault, Fault
from shared.mail.likely_mistakes import mistake_in_address
from shared.topics.records import Facts

MAX_SIZE_BYTES: Final = 307_200
_NO_CODES: Final[frozenset[str]] = frozenset()

# The cause and the value that was found, or None if the message follows the rule.
Breach = tuple[str, str] | None


class Submission(Struct, frozen=True):
    """The values with which a message is compared. Missing addresses are taken from the header."""

    sending_domain: str  # Lower-case A-labels, like the domains in the registry.
    sender: str = ""  # The envelope sender, or "" if there is no envelope.
    recipient: str = ""  # The envelope recipient, or "" if there is no envelope.
    codes: Set[str] = _NO_CODES  # The client's active codes.
    max_size_bytes: int = MAX_SIZE_BYTES
    code: str = ""  # The code in a Kafka header, or "" if there is no such header.


class Case(Struct):
    """One message to judge. Addresses are in normal form, or "" if there is no valid address."""

    facts: Facts
    submission: Submission
    sender: str  # The envelope sender. Without an envelope, the From address.
    sender_is_valid: bool  # False only if the envelope sender is not an address.
    recipient: str


def case_of(facts: Facts, submission: Submission) -> Case:
    """Combine a message with its envelope. Missing envelope addresses are taken from the header."""
    sender, recipient, valid = submission.sender, submission.recipient, True
    # The addresses are nearly always equal, because the envelope was built from the header.
    if sender != facts.from_address:
        sender, valid = _normal(sender, facts.from_address)
    if recipient != facts.to_address:
        recipient, _ = _normal(recipient, facts.to_address)
    return Case(facts, submission, sender, valid, recipient)


def _normal(given: str, otherwise: str) -> tuple[str, bool]:
    if not given:
        return otherwise, True
    parsed = parse_path(given)
    return (parsed.address, True) if isinstance(parsed, ParsedAddress) else ("", False)


def size(case: Case) -> Breach:
    """R1."""
    size, limit = case.facts.size_bytes, case.submission.max_size_bytes
    if size <= limit:
        return None
    return f"it has {size} bytes, {limit} are allowed", f"{size} bytes"


def message_id(case: Case) -> Breach:
    """R2."""
    facts = case.facts
    if facts.message_id and facts.message_id_count == 1:
        return None
    found = _line("Message-ID", facts.message_id_count, facts.message_id_raw)
    return _count_or(facts.message_id_count, "it is not of the form <left@right>"), found


def to(case: Case) -> Breach:
    """R3."""
    facts = case.facts
    if facts.to_count == 1 and facts.to_address and facts.to_address == case.recipient:
        return None
    found = _line("To", facts.to_count, facts.to_raw)
    if facts.to_count != 1 or not facts.to_address:
        return _count_or(facts.to_count, _why_not(facts.to_raw)), found
    cause = "the envelope recipient is another address"
    return cause, f"envelope {case.submission.recipient}, {found}"


def from_(case: Case) -> Breach:
    """R4."""
    facts, ours = case.facts, case.submission.sending_domain
    if facts.from_count != 1 or not facts.from_address:
        found = _line("From", facts.from_count, facts.from_raw)
        return _count_or(facts.from_count, _why_not(facts.from_raw)), found
    if _is_in(facts.from_address, ours):
        return None
    found = _line("From", 1, facts.from_raw)
    return f"its domain is not {ours}", found


def copies(case: Case) -> Breach:
    """Check R5. An empty Cc or Bcc header violates the rule, too."""
    facts = case.facts
    if not facts.cc_count and not facts.bcc_count:
        return None
    names = [name for name, count in (("Cc", facts.cc_count), ("Bcc", facts.bcc_count)) if count]
    return "", " and ".join(names)


def subject(case: Case) -> Breach:
    """Check R6. Two subjects are refused, because mail programs do not all show the same
    subject."""
    facts = case.facts
    if facts.subject_count == 1 and not facts.subject_empty:
        return None
    cause = _count_or(facts.subject_count, "it has no visible character")
    return cause, f"{facts.subject_count} Subject"


def reply_to(case: Case) -> Breach:
    """R7."""
    count = case.facts.reply_to_count
    return None if count <= 1 else (f"there are {count}", f"{count} Reply-To")


def code(case: Case) -> Breach:
    """Check R8. A code may be in a Kafka header or in the header of the message. If both have a
    code, the two codes must be equal."""
    facts, submission = case.facts, case.submission
    if facts.code_count > 1:
        return f"there are {facts.code_count}", facts.code or "an empty value"
    if facts.code_count and submission.code not in {"", facts.code}:
        cause = "the code sent with the message differs from the code in its header"
        found = f"{submission.code} with the message, {facts.code or 'nothing'} in its header"
        return cause, found
    given = bool(facts.code_count or submission.code)
    if not given or effective_code(facts, submission.code) in submission.codes:
        return None
    return "this code is not active", effective_code(facts, submission.code) or "an empty value"


def effective_code(facts: Facts, beside: str) -> str:
    """Return the code of a message. Return "" if it has several codes.

    `beside` is the code in a Kafka header. This code is used if the header of the message contains
    no code.
    """
    if not facts.code_count:
        return beside
    return facts.code if facts.code_count == 1 and beside in {"", facts.code} else ""


def same_sender(case: Case) -> Breach:
    """Check R9. A message without an envelope sender follows the rule."""
    facts, given = case.facts, case.submission.sender
    # Two identical values that are not addresses follow R9, but R4 and R10 refuse the message.
    if not given or (not facts.from_address and given == facts.from_raw):
        return None
    if not case.sender_is_valid:
        return "the envelope sender is not an address", _both(case)
    theirs = facts.from_address or _address_of(facts.from_raw)
    if not theirs:
        return "there is no single From address", _both(case)
    return None if case.sender == theirs else ("they differ", _both(case))


def sender_domain(case: Case) -> Breach:
    """Check R10. If there is no envelope sender, the address in From is judged. Without this
    address, the rule is not judged."""
    ours = case.submission.sending_domain
    if not case.sender_is_valid:
        return "the envelope sender is not an address", _both(case)
    if not case.sender or _is_in(case.sender, ours):
        return None
    return f"it is not {ours}", _both(case)


def organisation(case: Case) -> Breach:
    """Check R11. If From is not an address, the rule is not judged, because R4 refuses the
    message."""
    ours, theirs = domains.domain_of(case.sender), domains.domain_of(case.facts.from_address)
    if ours == theirs or not theirs:
        return None
    if not ours:
        return "the envelope sender is not an address", _both(case)
    left, right = domains.organisational_domain(ours), domains.organisational_domain(theirs)
    return None if left == right else (f"{left} and {right} differ", _both(case))


def return_path(case: Case) -> Breach:
    """R12."""
    count = case.facts.return_path_count
    return None if not count else ("", f"{count} Return-Path")


def _is_in(address: str, domain: str) -> bool:
    """Return True if the domain of the address is exactly this domain."""
    found = address.rpartition("@")[2]
    return found == domain or (bool(domain) and found == domains.normalise(domain))


def _count_or(count: int, otherwise: str) -> str:
    if count == 1:
        return otherwise
    return f"there are {count}" if count else "there is none"


def _why_not(raw: str) -> str:
    """Return the reason why a value is not a single address. The value may have been cut."""
    parsed = parse_single(raw)
    cause = str(parsed.fault if isinstance(parsed, AddressFault) else Fault.NO_ADDRESS)
    hint = mistake_in_address(raw)
    return f"{cause}: {hint}" if hint else cause


def _address_of(raw: str) -> str:
    """Return the address in the first of several headers. Return "" if that header has no valid
    address."""
    parsed = parse_single(raw)
    return parsed.address if isinstance(parsed, ParsedAddress) else ""


def _line(name: str, count: int, raw: str) -> str:
    return f"{name}: {raw}" if count else f"no {name}"


def _both(case: Case) -> str:
    sender = case.submission.sender or case.sender
    return f"envelope {sender}, From {case.facts.from_address or case.facts.from_raw}"
