"""The attributes of a record of mail.intake.<client>: their names, bounds and meanings.

These attributes are the contract with the platforms (docs/contracts/). The ingest service reads
records by this table, and asyncapi.yaml is generated from it. This module owns the names and
lengths. The values are read and judged in services/ingest/core/.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

MAX_AHEAD_DAYS: Final = 35  # this is also the longest window in which duplicates are recognised
TIME_FORMS: Final = "RFC 3339, such as 2026-12-24T08:00:00Z, or Unix milliseconds"
SPEC_VERSION_TEXT: Final = "1.0"
MESSAGE_TYPE: Final = "message/rfc822"
STRUCTURED_TYPE: Final = "application/cloudevents+json"
# An attribute of a CloudEvent is a header with this prefix (CloudEvents, Kafka binding, 3.2.3).
EVENT_PREFIX: Final = "ce_"
OWN_PREFIX: Final = "sluice-"
# A structured event has the message under one of these names.
DATA: Final = "data"
DATA_BASE64: Final = "data_base64"


class Field(Struct, frozen=True):
    """One attribute: its CloudEvents name, its Kafka header, its highest size in octets, and its
    meaning.

    In a CloudEvent, the Kafka header of the attribute has the prefix `ce_`. `header` is the name of
    the Kafka header in all other records, or "" if there is no such header.
    """

    attribute: str
    header: str
    max_octets: int
    meaning: str


CODE: Final = Field(
    "code",
    "sluice-code",
    200,
    "The mailing code. Counts as the X-bm-mailing header if the message has none; if it "
    "has one, both must be the same (R8)",
)
SENDER: Final = Field(
    "sender", "sluice-sender", 256, "The envelope sender; it must be the From address (R9, R10)"
)
NOT_BEFORE: Final = Field(
    "notbefore",
    "sluice-not-before",
    40,
    f"No attempt is made before this time, at most {MAX_AHEAD_DAYS} days ahead. {TIME_FORMS}",
)
EXPIRES: Final = Field(
    "expires",
    "sluice-expires",
    40,
    "No attempt begins from this time on. It must be in the future and after the earliest time. If "
    f"it is more than {MAX_AHEAD_DAYS} days after that, it counts as {MAX_AHEAD_DAYS} days after. "
    f"{TIME_FORMS}",
)
METADATA: Final = Field(
    "metadata",
    "sluice-metadata",
    1024,
    "Names and values of the platform, which the events of the message carry: a JSON object of at "
    "most 16 strings, each of at most 256 characters",
)
ID: Final = Field("id", "", 256, "The idempotency key of the submission, unique in its source")
SPEC_VERSION: Final = Field("specversion", "", 8, SPEC_VERSION_TEXT)
TYPE: Final = Field("type", "", 256, "Any text, such as com.example.newsletter.send")
SOURCE: Final = Field("source", "", 512, "Any text, such as /shop/newsletter; the scope of the id")
CONTENT_TYPE: Final = Field("datacontenttype", "content-type", 256, f"{MESSAGE_TYPE}, or omitted")

OPTIONAL: Final = (CODE, SENDER, NOT_BEFORE, EXPIRES, METADATA)
REQUIRED: Final = (SPEC_VERSION, ID, TYPE, SOURCE)  # of a CloudEvent
