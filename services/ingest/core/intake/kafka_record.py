"""Parses one intake record, in any of its modes, into the message and its attributes.

Pure. The modes (docs/contracts/README.md):
  plain       the value is the message; headers `sluice-...` may give attributes
  binary      CloudEvents 1.0 in Kafka's binary mode: the attributes are headers `ce_...`, the
              value is the message
  structured  `content-type: application/cloudevents+json`: the whole event is one JSON object
Owns: the mode of a record, the position of its values, the requirements of CloudEvents. Does not
own: the values (attributes.py), their names (shared/topics/intake_fields.py), the message
(shared/mail/headers.py). The record's key is not read.
Guarantees: never raises, whatever the record contains. An invalid record is reported with all of
its faults and its unchanged bytes.
"""

from __future__ import annotations

import binascii
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from services.ingest.core.intake.attributes import (
    IntakeAttributes,
    Text,
    fault,
    parse_attributes,
    text_of,
)
from services.ingest.core.intake.near_names import (
    is_content_type,
    is_own,
    meant_attribute,
    meant_header,
    shown_name,
)
from shared.mail.likely_mistakes import mistake_in_event
from shared.mail.status import Status
from shared.topics.intake_fields import (
    CONTENT_TYPE,
    DATA,
    DATA_BASE64,
    EVENT_PREFIX,
    MESSAGE_TYPE,
    OPTIONAL,
    OWN_PREFIX,
    REQUIRED,
    SPEC_VERSION,
    SPEC_VERSION_TEXT,
    STRUCTURED_TYPE,
    Field,
)
from shared.topics.records import Violation

UNREADABLE: Final = "unreadable"
# A record may have any number of headers; a record with more than this is refused.
MAX_HEADERS: Final = 200

_EVENT_TYPES: Final = "application/cloudevents"
_EVENT_TYPE_BYTES: Final = _EVENT_TYPES.encode()
_BATCH_TYPES: Final = "application/cloudevents-batch"
_ATTRIBUTE: Final = re.compile(r"[a-z0-9]+")  # CloudEvents 1.0, 3
_FIELDS: Final = (*REQUIRED, *OPTIONAL)
_BY_ATTRIBUTE: Final = {field.attribute: field for field in (*_FIELDS, CONTENT_TYPE)}
_BY_HEADER: Final = {
    **{EVENT_PREFIX + field.attribute: field for field in _FIELDS},
    **{field.header: field for field in (*OPTIONAL, CONTENT_TYPE)},
}
_OWN_HEADERS: Final = ", ".join(field.header for field in OPTIONAL)
_decoder: Final = msgspec.json.Decoder(dict[str, object])

Header = tuple[str, bytes | None]


class Reading(Struct, frozen=True, gc=False):
    """One record as read. If it has `faults`, it is refused and `content` is the record's value."""

    content: bytes
    given: IntakeAttributes = IntakeAttributes()
    faults: tuple[Violation, ...] = ()


class _Found(Struct):
    """The values of one record by attribute, the faults so far, and each attribute's name there."""

    texts: dict[str, Text]
    faults: list[Violation]
    names: dict[str, str]
    is_event: bool = False
    # Attributes given under a misspelt name: these are not reported as missing too.
    meant: set[str] = msgspec.field(default_factory=set)


def read(value: bytes | None, headers: Sequence[Header], now_ms: int) -> Reading:
    """Parse an intake record; `now_ms` (Unix milliseconds) is for checking its times."""
    content = value or b""
    if not headers:
        return Reading(content)
    if len(headers) > MAX_HEADERS:
        cause = f"are too many: at most {MAX_HEADERS} are allowed"
        return Reading(content, faults=(fault("headers of the record", "", cause),))
    found = _in_headers(headers)
    kind = found.texts.get(CONTENT_TYPE.attribute)
    media_type = _media_type(kind)
    if kind is None or not media_type.startswith(_EVENT_TYPES):
        if found.is_event:
            found.faults += _not_an_event(found, "header " + EVENT_PREFIX)
        return _reading(content, content, found, now_ms)
    if media_type == STRUCTURED_TYPE:
        return _structured(content, found, now_ms)
    what = "a batch" if media_type.startswith(_BATCH_TYPES) else "not known"
    cause = (
        f"says {media_type}, which is {what}: publish one message per record, as "
        f"{STRUCTURED_TYPE}, with headers {EVENT_PREFIX}..., or as a plain message"
    )
    return Reading(content, faults=(fault(kind.name, kind.text, cause),))


def undecodable(value: bytes, first_offset: int, last_offset: int, cause: str) -> Reading:
    """The reading of a batch that could not be decoded; `value` is its beginning."""
    which = f"offset {last_offset}"
    if first_offset < last_offset:
        which = f"offsets {first_offset} to {last_offset}"
    reason = f"The batch with {which} cannot be decoded: {cause}"
    broken = Violation(UNREADABLE, reason, Status.BAD_MESSAGE.value, _shown(value[:60]))
    return Reading(value, faults=(broken,))


def _reading(value: bytes, message: bytes, found: _Found, now_ms: int) -> Reading:
    given, faults = parse_attributes(found.texts, now_ms)
    faults = found.faults + faults
    return Reading(value, faults=tuple(faults)) if faults else Reading(message, given)


def _in_headers(headers: Sequence[Header]) -> _Found:
    """Collect the values from the headers; the case of names does not matter.

    Headers of other names are ignored, unless they were meant as one of ours.
    """
    found = _Found({}, [], {})
    for raw_name, octets in headers:
        lower = raw_name.lower()
        found.is_event = found.is_event or lower.startswith(EVENT_PREFIX)
        field = _BY_HEADER.get(lower)
        name = f"header {lower}"
        if field is None:
            _note_unknown(found, raw_name, octets)
        elif (first := found.names.get(field.attribute)) is not None:
            also = "" if first == name else f", here and as {first.removeprefix('header ')}"
            cause = f"is given twice{also}: give it once"
            found.faults.append(fault(name, _shown(octets), cause))
        else:
            _take(found, text_of(name, octets, field), field, name)
    return found


def _note_unknown(found: _Found, name: str, octets: bytes | None) -> None:
    """Refuse a header whose name is a misspelling of a known one."""
    right = meant_header(name)
    if right:
        found.meant.add(meant_attribute(name))
        cause = f"is not known: write {right}"
    elif is_own(name):
        cause = f"is not known: the names are {_OWN_HEADERS}"
    elif is_content_type(name) and (octets or b"").strip().lower().startswith(_EVENT_TYPE_BYTES):
        cause = f"is not known: write {CONTENT_TYPE.header}"
    else:
        return
    found.faults.append(fault(f"header {shown_name(name.lower())}", _shown(octets), cause))


def _structured(value: bytes, outside: _Found, now_ms: int) -> Reading:
    """Parse the JSON object; the binding allows its attributes to be repeated as headers."""
    found = _Found({}, [], {})
    try:
        event = _decoder.decode(value)
        found.faults += _repeated_keys(value)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        # The decoder's error text may quote the value.
        cause = str(error).encode("ascii", "backslashreplace").decode()[:200]
        reason = f"The value is not a JSON object, as {STRUCTURED_TYPE} requires: {cause}"
        if hint := mistake_in_event(value):
            reason += f"; {hint}"
        shown = _shown(value[:60])
        unreadable = Violation(UNREADABLE, reason, Status.BAD_MESSAGE.value, shown)
        return Reading(value, faults=(unreadable,))
    for attribute, content in event.items():
        if attribute not in {DATA, DATA_BASE64} and content is not None:
            _take_attribute(found, attribute, content)
    found.faults += _beside(outside, found)
    found.faults += _not_an_event(found, "attribute ")
    message = _message_of(event)
    if isinstance(message, Violation):
        found.faults.append(message)
        message = b""
    return _reading(value, message, found, now_ms)


def _repeated_keys(value: bytes) -> Iterator[Violation]:
    """The faults of keys that occur twice in a JSON object; a decoder keeps only the last value.

    `value` is known to be a JSON object; numbers are not converted, because of their possible size.
    """
    pairs = json.loads(value, object_pairs_hook=list, parse_int=str, parse_float=str, strict=False)
    counts = Counter(key for key, _ in pairs)
    if len(counts) < len(pairs):
        for key, count in counts.items():
            if count > 1:
                yield fault(f"attribute {shown_name(key)}", "", "is given twice: give it once")


def _beside(outside: _Found, event: _Found) -> Iterator[Violation]:
    """The faults of headers beside a JSON object, which would otherwise be ignored.

    The binding allows attributes to be repeated as headers, with the same values.
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


def _take_attribute(found: _Found, attribute: str, content: object) -> None:
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
    if isinstance(content, int) and not isinstance(content, bool):
        content = str(content) if abs(content) < 10**15 else ""
    if not isinstance(content, str):
        cause = "is not a string: write it as a JSON string"
        found.names[attribute] = name
        found.faults.append(fault(name, type(content).__name__, cause))
        return
    _take(found, text_of(name, content.encode("utf-8", "surrogatepass"), field), field, name)


def _take(found: _Found, text: Text | Violation, field: Field, name: str) -> None:
    found.names[field.attribute] = name
    if isinstance(text, Text):
        found.texts[field.attribute] = text
    else:
        found.faults.append(text)


def _not_an_event(found: _Found, prefix: str) -> list[Violation]:
    """The faults that keep these values from being a CloudEvent 1.0 that contains a message."""
    cause = "is missing: a CloudEvent has specversion, id, type and source; add it"
    faults = [
        fault(prefix + field.attribute, "", cause)
        for field in REQUIRED
        if field.attribute not in found.names and field.attribute not in found.meant
    ]
    texts = found.texts
    version = texts.get(SPEC_VERSION.attribute)
    if version is not None and version.text != SPEC_VERSION_TEXT:
        cause = (
            f"is {version.text}: this version of CloudEvents is not supported; write"
            f" {SPEC_VERSION_TEXT}"
        )
        faults.append(fault(version.name, version.text, cause))
    kind = texts.get(CONTENT_TYPE.attribute)
    if kind is not None and _media_type(kind) != MESSAGE_TYPE:
        cause = f"is {kind.text}: the data must be a message; write {MESSAGE_TYPE} or leave it out"
        faults.append(fault(kind.name, kind.text, cause))
    return faults


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


def _media_type(kind: Text | None) -> str:
    return kind.text.partition(";")[0].strip().lower() if kind is not None else ""


def _shown(octets: bytes | None) -> str:
    return (octets or b"")[:800].decode("utf-8", "backslashreplace")
