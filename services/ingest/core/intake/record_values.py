"""The values of one intake record, and the Reading that is made from these values. This module does
no I/O.

This module owns the type Reading and the checks that CloudEvents requires. It does not own the
positions of the values in a record (kafka_record.py, structured_event.py).
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from services.ingest.core.intake.attributes import (
    IntakeAttributes,
    Text,
    fault,
    parse_attributes,
    parse_metadata,
)
from shared.topics.intake_fields import (
    CONTENT_TYPE,
    MESSAGE_TYPE,
    METADATA,
    REQUIRED,
    SPEC_VERSION,
    SPEC_VERSION_TEXT,
    Field,
)
from shared.topics.records import Violation

UNREADABLE: Final = "unreadable"


class Reading(Struct, frozen=True, gc=False):
    """The result of parsing one record. If there are `faults`, the record is refused and `content`
    is the record's value.

    If there are `faults`, `given` has the readable values, so that the event of the refusal can
    identify the submission.
    """

    content: bytes
    given: IntakeAttributes = IntakeAttributes()
    faults: tuple[Violation, ...] = ()


class RecordValues(Struct):
    """The values of one record by attribute, the faults found so far, and the names under which the
    values were found."""

    texts: dict[str, Text]
    faults: list[Violation]
    names: dict[str, str]
    is_event: bool = False
    # The attributes that have a misspelt name in the record. They are reported as misspelt, and not
    # as missing.
    meant: set[str] = msgspec.field(default_factory=set)


def reading_of(value: bytes, message: bytes, found: RecordValues, now_ms: int) -> Reading:
    given, faults = parse_attributes(found.texts, now_ms)
    faults = found.faults + faults
    metadata = found.texts.get(METADATA.attribute)
    if metadata is not None:
        parsed = parse_metadata(metadata)
        if isinstance(parsed, Violation):
            faults.append(parsed)
        else:
            given = replace(given, metadata=parsed)
    return Reading(value, given, tuple(faults)) if faults else Reading(message, given)


def take(found: RecordValues, text: Text | Violation, field: Field, name: str) -> None:
    found.names[field.attribute] = name
    if isinstance(text, Text):
        found.texts[field.attribute] = text
    else:
        found.faults.append(text)


def event_faults(found: RecordValues, prefix: str) -> list[Violation]:
    """Return the violations if these values are not a valid CloudEvent 1.0 with a message."""
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
    if kind is not None and media_type(kind) != MESSAGE_TYPE:
        cause = f"is {kind.text}: the data must be a message; write {MESSAGE_TYPE} or leave it out"
        faults.append(fault(kind.name, kind.text, cause))
    return faults


def media_type(kind: Text | None) -> str:
    return kind.text.partition(";")[0].strip().lower() if kind is not None else ""


def shown(octets: bytes | None) -> str:
    return (octets or b"")[:800].decode("utf-8", "backslashreplace")
