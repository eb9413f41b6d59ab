"""What a platform may say beside a message: code, sender, earliest time, expiry, key. Pure.

Owns: the forms of these values, whichever way they came, and the words for what is wrong with
one. Does not own: their names (shared/topics/intake_fields.py), where a record holds them
(kafka_record.py), whether the code and the sender may be used (the rules R8 to R10).
Promises: never raises; all faults are told at once. A value that cannot be used refuses the
message: mail sent too early, or billed to another mailing, cannot be called back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct

from shared.mail.likely_mistakes import visible
from shared.mail.status import Status
from shared.topics.intake_fields import (
    CODE,
    EXPIRES,
    ID,
    MAX_AHEAD_DAYS,
    NOT_BEFORE,
    SENDER,
    SOURCE,
    TIME_FORMS,
    Field,
)
from shared.topics.records import Violation

BAD_HEADER: Final = "bad_header"
MAX_FOUND_CHARS: Final = 200

_DAY_MS: Final = 86_400_000
_MAX_AHEAD_MS: Final = MAX_AHEAD_DAYS * _DAY_MS
# Ten digits are seconds since 1970, or a time in it: either way not what was meant.
FIRST_MS: Final = 100_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_UNIX_MS: Final = re.compile(r"[0-9]{1,15}")
_RFC_3339: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,9})?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
# CloudEvents 1.0, 3.1: a String holds no control characters.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class IntakeAttributes(Struct, frozen=True, gc=False):
    """What was said beside the message; "" and 0 where nothing was. Times: Unix ms."""

    code: str = ""
    sender: str = ""
    not_before_ms: int = 0
    expires_at_ms: int = 0
    submission_key: str = ""
    submission_source: str = ""  # which the key is one of


class Text(Struct, frozen=True):
    """A value as text, and what it is called where it stood ("header ce_id")."""

    name: str
    text: str


Texts = Mapping[str, Text]


def fault(name: str, found: str, cause: str) -> Violation:
    """The refusal for what is called `name`; `cause` says what is wrong and how to mend it."""
    shown = visible(found[:MAX_FOUND_CHARS])[:MAX_FOUND_CHARS]
    return Violation(BAD_HEADER, f"The {name} {cause}", Status.BAD_HEADER.value, shown)


def text_of(name: str, octets: bytes | None, field: Field) -> Text | Violation:
    """The text of a value, without the white space around it; the fault where it is none."""
    if octets is None or not (octets := octets.strip(b" \t")):
        return fault(name, "", "is empty: give it a value or leave it out")
    shown = octets[: 4 * MAX_FOUND_CHARS].decode("utf-8", "backslashreplace")
    if len(octets) > field.max_octets:
        cause = f"has {len(octets)} bytes: at most {field.max_octets} are allowed"
        return fault(name, shown, cause)
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        return fault(name, shown, "is not UTF-8: encode it so")
    if _CONTROL.search(text):
        return fault(name, shown, "holds a control character: remove it")
    return Text(name, text)


def parse_attributes(texts: Texts, now_ms: int) -> tuple[IntakeAttributes, list[Violation]]:
    """What the values say, and the faults of those that cannot be used."""
    times: dict[str, int] = {}
    faults: list[Violation] = []
    for field in (NOT_BEFORE, EXPIRES):
        value = texts.get(field.attribute)
        if value is None:
            continue
        at_ms = unix_ms(value.text)
        if at_ms is None:
            faults.append(fault(value.name, value.text, f"is not a time: write it as {TIME_FORMS}"))
        else:
            times[field.attribute] = at_ms
    not_before = times.get(NOT_BEFORE.attribute, 0)
    expires = times.get(EXPIRES.attribute, 0)
    faults += _misplaced(texts, not_before, expires, now_ms)
    latest = max(now_ms, not_before) + _MAX_AHEAD_MS
    return (
        IntakeAttributes(
            code=_of(texts, CODE),
            sender=_of(texts, SENDER),
            not_before_ms=not_before,
            expires_at_ms=min(expires, latest),
            submission_key=_of(texts, ID),
            submission_source=_of(texts, SOURCE) if ID.attribute in texts else "",
        ),
        faults,
    )


def unix_ms(text: str) -> int | None:
    """A time in one of the two forms as Unix milliseconds; None where it is neither."""
    if _UNIX_MS.fullmatch(text):
        at_ms = int(text)
        return at_ms if at_ms >= FIRST_MS else None
    match = _RFC_3339.fullmatch(text)
    if match is None:
        return None
    day, clock, fraction, zone = match.groups()
    zone = "+00:00" if zone in "Zz" else zone
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{(fraction or '')[:7]}{zone}")
        return max((moment - _EPOCH) // _MS, 1)  # 0 would say that none was given
    except (ValueError, OverflowError):
        return None


def _misplaced(texts: Texts, not_before: int, expires: int, now_ms: int) -> Iterable[Violation]:
    """The times that can be read and cannot be kept."""
    if not_before > now_ms + _MAX_AHEAD_MS:
        value = texts[NOT_BEFORE.attribute]
        cause = f"is more than {MAX_AHEAD_DAYS} days ahead: publish the message later"
        yield fault(value.name, value.text, cause)
    expiry = texts.get(EXPIRES.attribute)
    if expiry is None or not expires:
        return
    if expires <= now_ms:
        yield fault(expiry.name, expiry.text, "has passed already: write a time that is ahead")
    elif expires <= not_before:
        cause = "is not after the earliest time: no attempt could ever be made; write a later one"
        yield fault(expiry.name, expiry.text, cause)


def _of(texts: Texts, field: Field) -> str:
    value = texts.get(field.attribute)
    return value.text if value is not None else ""
