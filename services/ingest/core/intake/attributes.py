"""The attributes that a platform may give with a message. This module does no I/O.

This module owns the formats of the values (code, sender, earliest time, expiry, submission key) in
every record mode, and the texts about invalid values. It does not own the names of the attributes
(shared/topics/intake_fields.py), their position in a record (kafka_record.py) and the rules about
code and sender (R8 to R10). It never raises an exception, and reports all faults at once. A message
with an invalid value is refused, because mail that was sent too early or billed to another mailing
cannot be recalled.

The metadata that a platform gives is a small JSON object, which is copied to the events of the
message. The length of its text is limited by intake_fields.METADATA.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct

from shared.mail.likely_mistakes import visible
from shared.submission.rules import Status
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
# The earliest accepted time. A value of ten digits was probably given in seconds, by mistake. In
# milliseconds, it would be a time in 1970.
FIRST_MS: Final = 100_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_SECOND: Final = timedelta(seconds=1)
_DAY: Final = timedelta(days=1)
_UNIX_MS: Final = re.compile(r"[0-9]{1,15}")
_RFC_3339: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,9})?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
# A String must not contain control characters (CloudEvents 1.0, 3.1).
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
MAX_ENTRIES: Final = 16
MAX_VALUE_CHARS: Final = 256
_METADATA_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_CONTROL_OR_SURROGATE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
METADATA_EXAMPLE: Final = '{"order":"7","campaign":"spring"}'


class IntakeAttributes(Struct, frozen=True, gc=False):
    """The attributes of a message. A missing attribute is "" or 0.

    Times are in Unix milliseconds.
    """

    code: str = ""
    sender: str = ""
    not_before_ms: int = 0
    expires_at_ms: int = 0
    submission_key: str = ""
    submission_source: str = ""  # the namespace of the submission key
    metadata: dict[str, str] = {}


class Text(Struct, frozen=True):
    """The text of a value, and the name of the value in the record, for example "header ce_id"."""

    name: str
    text: str


Texts = Mapping[str, Text]


def fault(name: str, found: str, cause: str) -> Violation:
    """Return the violation for the value with this name. `cause` says what is wrong and how to fix
    it."""
    shown = visible(found[:MAX_FOUND_CHARS])[:MAX_FOUND_CHARS]
    return Violation(BAD_HEADER, f"The {name} {cause}", Status.BAD_HEADER.value, shown)


def text_of(name: str, octets: bytes | None, field: Field) -> Text | Violation:
    """Return the text of a value without surrounding white space. If the value is not valid, return
    the violation."""
    if octets is None or not (octets := octets.strip(b" \t")):
        return fault(name, "", "is empty: give it a value or leave it out")
    shown = octets[: 4 * MAX_FOUND_CHARS].decode("utf-8", "backslashreplace")
    if len(octets) > field.max_octets:
        cause = f"has {len(octets)} bytes: at most {field.max_octets} are allowed"
        return fault(name, shown, cause)
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        return fault(name, shown, "is not UTF-8: encode it as UTF-8")
    if _CONTROL.search(text):
        return fault(name, shown, "holds a control character: remove it")
    return Text(name, text)


def parse_attributes(texts: Texts, now_ms: int) -> tuple[IntakeAttributes, list[Violation]]:
    """Parse the values. Return the attributes, and the violations for invalid values."""
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
    """Parse a time in one of the two formats, and return it in Unix milliseconds.

    Return None if the text has neither format.
    """
    if _UNIX_MS.fullmatch(text):
        at_ms = int(text)
        return at_ms if at_ms >= FIRST_MS else None
    match = _RFC_3339.fullmatch(text)
    if match is None:
        return None
    day, clock, fraction, zone = match.groups()
    zone = "+00:00" if zone in "Zz" else zone
    is_leap = clock.endswith(":60")  # RFC 3339, 5.7
    clock = f"{clock[:-2]}59" if is_leap else clock
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{(fraction or '')[:7]}{zone}")
        if is_leap:  # Unix time has no leap seconds, so use the next second
            moment += _SECOND
            if (moment - _EPOCH) % _DAY >= _SECOND:
                return None
        return max((moment - _EPOCH) // _MS, 1)  # 0 means that no time was given
    except (ValueError, OverflowError):
        return None


def _misplaced(texts: Texts, not_before: int, expires: int, now_ms: int) -> Iterable[Violation]:
    """Yield the violations for valid times that are too early or too late."""
    if not_before > now_ms + _MAX_AHEAD_MS:
        value = texts[NOT_BEFORE.attribute]
        cause = f"is more than {MAX_AHEAD_DAYS} days ahead: publish the message later"
        yield fault(value.name, value.text, cause)
    expiry = texts.get(EXPIRES.attribute)
    if expiry is None or not expires:
        return
    if expires <= now_ms:
        yield fault(expiry.name, expiry.text, "is in the past: write a time in the future")
    elif expires <= not_before:
        cause = "is not after the earliest time: no attempt would be made; write a later one"
        yield fault(expiry.name, expiry.text, cause)


def _of(texts: Texts, field: Field) -> str:
    value = texts.get(field.attribute)
    return value.text if value is not None else ""


def parse_metadata(value: Text) -> dict[str, str] | Violation:
    """Return the entries of the JSON object. Return a violation if the text is not an object or
    exceeds a limit."""
    try:
        pairs = json.loads(value.text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return fault(
            value.name, value.text, f"is not a JSON object: write it as {METADATA_EXAMPLE}"
        )
    if not isinstance(pairs, _Pairs):
        return fault(
            value.name, value.text, f"is not a JSON object: write it as {METADATA_EXAMPLE}"
        )
    found: dict[str, str] = {}
    for name, content in pairs:
        if cause := _cause(name, content):
            return fault(value.name, value.text, cause)
        if name in found:
            return fault(value.name, value.text, f"has {name} twice: give it once")
        found[name] = content
    if len(found) > MAX_ENTRIES:
        cause = f"has {len(found)} entries: at most {MAX_ENTRIES} are allowed"
        return fault(value.name, value.text, cause)
    return found


class _Pairs(list[tuple[str, str]]):
    """All pairs of a JSON object, including pairs with the same name."""


def _cause(name: str, content: object) -> str:
    if not _METADATA_NAME.fullmatch(name):
        return "has a name that is not 1 to 64 letters, digits, `_`, `.` and `-`"
    if not isinstance(content, str):
        return f'has a value of {name} that is not a string: write it as "{name}":"..."'
    if len(content) > MAX_VALUE_CHARS:
        return f"has {len(content)} characters in {name}: at most {MAX_VALUE_CHARS} are allowed"
    return (
        f"has a control character in {name}: remove it"
        if _CONTROL_OR_SURROGATE.search(content)
        else ""
    )
