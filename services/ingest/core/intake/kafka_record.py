"""Parses one intake record, in any of its modes, into the message and its attributes.

A record has one of these modes (docs/contracts/README.md):
  plain       the value is the message; headers `sluice-...` may contain attributes
  binary      CloudEvents 1.0 in Kafka's binary mode: the attributes are headers `ce_...`, the
              value is the message
  structured  `content-type: application/cloudevents+json`: the whole event is one JSON object

This module does no I/O. It finds the mode of a record and the values in its headers. It does not
own the parsing of a JSON event (structured_event.py), the checks of the values (attributes.py), the
names of the attributes (shared/topics/intake_fields.py) and the parsing of the message
(shared/mail/headers.py). The key of the record is not read. No exception is raised, no matter what
the record contains. An invalid record is reported with all its faults and its unchanged bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from services.ingest.core.intake.attributes import fault, text_of
from services.ingest.core.intake.near_names import (
    is_content_type,
    is_data,
    is_own,
    meant_attribute,
    meant_header,
    shown_name,
)
from services.ingest.core.intake.record_values import (
    UNREADABLE,
    Reading,
    RecordValues,
    event_faults,
    media_type,
    reading_of,
    shown,
    take,
)
from services.ingest.core.intake.structured_event import read_structured
from shared.submission.rules import Status
from shared.topics.intake_fields import (
    CONTENT_TYPE,
    EVENT_PREFIX,
    OPTIONAL,
    REQUIRED,
    STRUCTURED_TYPE,
)
from shared.topics.records import Violation

# Kafka allows any number of headers. A record with more than this number of headers is refused.
MAX_HEADERS: Final = 200

_EVENT_TYPES: Final = "application/cloudevents"
_EVENT_TYPE_BYTES: Final = _EVENT_TYPES.encode()
_BATCH_TYPES: Final = "application/cloudevents-batch"
_FIELDS: Final = (*REQUIRED, *OPTIONAL)
_BY_HEADER: Final = {
    **{EVENT_PREFIX + field.attribute: field for field in _FIELDS},
    **{field.header: field for field in (*OPTIONAL, CONTENT_TYPE)},
}
_OWN_HEADERS: Final = ", ".join(field.header for field in OPTIONAL)

Header = tuple[str, bytes | None]


def read(value: bytes | None, headers: Sequence[Header], now_ms: int) -> Reading:
    """Parse an intake record. `now_ms` (Unix milliseconds) is the present time, with which the
    times in the record are compared."""
    content = value or b""
    if not headers:
        return Reading(content)
    if len(headers) > MAX_HEADERS:
        cause = f"are too many: at most {MAX_HEADERS} are allowed"
        return Reading(content, faults=(fault("headers of the record", "", cause),))
    found = _in_headers(headers)
    kind = found.texts.get(CONTENT_TYPE.attribute)
    found_type = media_type(kind)
    if kind is None or not found_type.startswith(_EVENT_TYPES):
        if found.is_event:
            found.faults += event_faults(found, "header " + EVENT_PREFIX)
        return reading_of(content, content, found, now_ms)
    if found_type == STRUCTURED_TYPE:
        return read_structured(content, found, now_ms)
    what = "a batch" if found_type.startswith(_BATCH_TYPES) else "not known"
    cause = (
        f"says {found_type}, which is {what}: publish one message per record, as "
        f"{STRUCTURED_TYPE}, with headers {EVENT_PREFIX}..., or as a plain message"
    )
    return Reading(content, faults=(fault(kind.name, kind.text, cause),))


def undecodable(value: bytes, first_offset: int, last_offset: int, cause: str) -> Reading:
    """Return the Reading of a batch that cannot be decoded. `value` is the beginning of the
    batch."""
    which = f"offset {last_offset}"
    if first_offset < last_offset:
        which = f"offsets {first_offset} to {last_offset}"
    reason = f"The batch with {which} cannot be decoded: {cause}"
    broken = Violation(UNREADABLE, reason, Status.BAD_MESSAGE.value, shown(value[:60]))
    return Reading(value, faults=(broken,))


def _in_headers(headers: Sequence[Header]) -> RecordValues:
    """Collect the values of the known headers. Upper and lower case in names is ignored.

    A header with an unknown name is ignored, unless the name seems to be a misspelt known name.
    """
    found = RecordValues({}, [], {})
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
            found.faults.append(fault(name, shown(octets), cause))
        else:
            take(found, text_of(name, octets, field), field, name)
    return found


def _note_unknown(found: RecordValues, name: str, octets: bytes | None) -> None:
    """Add a fault if the name of this header is a misspelt known name."""
    right = meant_header(name)
    if right:
        found.meant.add(meant_attribute(name))
        cause = f"is not known: write {right}"
    elif is_data(name):
        cause = "is no attribute: the data is the value of the record; leave the header out"
    elif is_own(name):
        cause = f"is not known: the names are {_OWN_HEADERS}"
    elif is_content_type(name) and (octets or b"").strip().lower().startswith(_EVENT_TYPE_BYTES):
        cause = f"is not known: write {CONTENT_TYPE.header}"
    else:
        return
    found.faults.append(fault(f"header {shown_name(name.lower())}", shown(octets), cause))
