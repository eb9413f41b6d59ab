"""Parses a CloudEvent in structured mode, which is one JSON object with the message in `data`. This
module does no I/O.

It never raises an exception, no matter what the value of the record contains.
"""

from __future__ import annotations

import binascii
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

import msgspec

from services.ingest.core.intake.attributes import fault, text_of
from services.ingest.core.intake.near_names import meant_attribute, shown_name
from services.ingest.core.intake.record_values import (
    UNREADABLE,
    Reading,
    RecordValues,
    event_faults,
    reading_of,
    shown,
    take,
)
from shared.mail.likely_mistakes import mistake_in_event
from shared.submission.rules import Status
from shared.topics.intake_fields import (
    CONTENT_TYPE,
    DATA,
    DATA_BASE64,
    OPTIONAL,
    OWN_PREFIX,
    REQUIRED,
    STRUCTURED_TYPE,
)
from shared.topics.records import Violation

_ATTRIBUTE: Final = re.compile(r"[a-z0-9]+")  # see CloudEvents 1.0, 3
_STRINGS: Final = (*REQUIRED, CONTENT_TYPE)  # extension attributes may also be integers
_BY_ATTRIBUTE: Final = {field.attribute: field for field in (*REQUIRED, *OPTIONAL, CONTENT_TYPE)}
_decoder: Final = msgspec.json.Decoder(dict[str, object])


def read_structured(value: bytes, outside: RecordValues, now_ms: int) -> Reading:
    """Parse the JSON object. `outside` has the headers, in which the attributes of the object may
    be repeated."""
    found = RecordValues({}, [], {})
    try:
        event = _decoder.decode(value)
        found.faults += _repeated_keys(value)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        # The decoder's error text may quote the value.
        cause = str(error).encode("ascii", "backslashreplace").decode()[:200]
        reason = f"The value is not a JSON object, as {STRUCTURED_TYPE} requires: {cause}"
        if hint := mistake_in_event(value):
            reason += f"; {hint}"
        beginning = shown(value[:60])
        unreadable = Violation(UNREADABLE, reason, Status.BAD_MESSAGE.value, beginning)
        return Reading(value, faults=(unreadable,))
    for attribute, content in event.items():
        if attribute not in {DATA, DATA_BASE64} and content is not None:
            _take_attribute(found, attribute, content)
    found.faults += _beside(outside, found)
    found.faults += event_faults(found, "attribute ")
    message = _message_of(event)
    if isinstance(message, Violation):
        found.faults.append(message)
        message = b""
    return reading_of(value, message, found, now_ms)


def _repeated_keys(value: bytes) -> Iterator[Violation]:
    """Yield a violation for each key that occurs more than once in a JSON object.

    A JSON decoder would keep only the last value of a repeated key. `value` must be a JSON object.
    Numbers are not converted, because they may be very large.
    """
    pairs = json.loads(value, object_pairs_hook=list, parse_int=str, parse_float=str, strict=False)
    counts = Counter(key for key, _ in pairs)
    if len(counts) < len(pairs):
        for key, count in counts.items():
            if count > 1:
                yield fault(f"attribute {shown_name(key)}", "", "is given twice: give it once")


def _beside(outside: RecordValues, event: RecordValues) -> Iterator[Violation]:
    """Yield the violations for the headers of a structured event.

    Without this check, the headers would be ignored. CloudEvents allows a header that repeats an
    attribute of the event with the same value.
    """
    yield from outside.faults
    for attribute, text in outside.texts.items():
        if attribute == CONTENT_TYPE.attribute:
            continue
        inside = event.texts.get(attribute)
        if text.name.startswith("header " + OWN_PREFIX):
            cause = "is outside a CloudEvent in structured mode: make it an attribute of the event"
            yield fault(text.name, text.text, cause)
        elif attribute not in event.names:
            cause = f"has no matching attribute {attribute} in the event: add the attribute"
            yield fault(text.name, text.text, cause)
        elif inside is not None and inside.text != text.text:
            cause = f"differs from the event's attribute {attribute}: give one value"
            yield fault(text.name, text.text, cause)


def _take_attribute(found: RecordValues, attribute: str, content: object) -> None:
    name = f"attribute {attribute[:100]}"
    if not _ATTRIBUTE.fullmatch(attribute):
        right = meant_attribute(attribute)
        should = f"write {right}" if right else "use lower-case letters and digits"
        cause = f"has a name that CloudEvents does not allow: {should}"
        found.meant.add(right)
        found.faults.append(fault(f"attribute {shown_name(attribute)}", "", cause))
        return
    field = _BY_ATTRIBUTE.get(attribute)
    if field is None:
        if right := meant_attribute(attribute):
            found.meant.add(right)
            found.faults.append(fault(name, "", f"is not known: write {right}"))
        return
    number = ""
    if isinstance(content, int) and not isinstance(content, bool):
        number = str(content) if abs(content) < 10**15 else ""
        content = content if field in _STRINGS else number
    if not isinstance(content, str):
        cause = "is not a string: write it as a JSON string"
        if number:
            cause = f'is the number {number}: CloudEvents requires a string; write "{number}"'
        found.names[attribute] = name
        found.faults.append(fault(name, type(content).__name__, cause))
        return
    take(found, text_of(name, content.encode("utf-8", "surrogatepass"), field), field, name)


def _message_of(event: dict[str, object]) -> bytes | Violation:
    text, encoded = event.get(DATA), event.get(DATA_BASE64)
    if (text is None) == (encoded is None):
        cause = "are both given: give one" if text is not None else "are both missing: give one"
        return fault(f"attributes {DATA_BASE64} and {DATA}", "", cause)
    if isinstance(encoded, str):
        try:
            return binascii.a2b_base64(encoded.encode("ascii", "replace"), strict_mode=True)
        except binascii.Error as error:
            cause = f"is not Base64 ({error}): encode the bytes of the message with RFC 4648, 4"
            return fault(f"attribute {DATA_BASE64}", encoded[:60], cause)
    if isinstance(text, str):
        return text.encode("utf-8", "surrogatepass")
    name = DATA if text is not None else DATA_BASE64
    found = type(event[name]).__name__
    cause = f"is not a string: write the message as text in {DATA}, or Base64 in {DATA_BASE64}"
    return fault(f"attribute {name}", found, cause)
