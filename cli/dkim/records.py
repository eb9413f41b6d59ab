"""The TXT records of DKIM keys, and whether the DNS has them. Pure: the caller looks up.

Owns: the text of a record and its form in a zone file, the judgement of what is published. Does not
own: parsing a record (shared/mailauth/dkim_record.py), the look-ups.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final

from msgspec import Struct

from shared.mailauth.dkim_keys.folder import PrivateKey
from shared.mailauth.dkim_keys.table import KeyEntry
from shared.mailauth.dkim_record import KeyRecordError, parse_record, public_key_of
from shared.mailauth.spf.evaluation import Away, Rows

_MAX_STRING: Final = 255  # RFC 1035, 3.3
# Stands for the sending domain where the key has none.
ANY_DOMAIN: Final = "<sending domain>"


class Published(StrEnum):
    """Whether a record is in the DNS."""

    YES = "published"
    NO = "missing"
    OTHER = "different"
    UNKNOWN = "unknown"  # the DNS did not answer
    UNASKED = "not asked"  # the domain is not known


class TxtRecord(Struct, frozen=True):
    """A record to publish: its full name without the last dot, and its text."""

    name: str
    text: str


class Check(Struct, frozen=True):
    """The records found in the DNS, and the reason if they differ from the expected record."""

    record: TxtRecord
    published: Published
    reason: str = ""


def record_of(entry: KeyEntry, key: PrivateKey, domain: str = "") -> TxtRecord:
    """Return the record of a key in a domain; by default in the key's own domain."""
    kind, public = public_key_of(key.public_key())
    where = domain or entry.domain or ANY_DOMAIN
    return TxtRecord(f"{entry.selector}._domainkey.{where}", f"v=DKIM1; k={kind}; p={public}")


def zone_line(record: TxtRecord) -> str:
    """The record as a line of a zone file: strings of at most 255 octets."""
    text = record.text
    strings = [text[at : at + _MAX_STRING] for at in range(0, len(text), _MAX_STRING)]
    quoted = " ".join(f'"{string}"' for string in strings)
    shown = quoted if len(strings) == 1 else f"( {quoted} )"
    return f"{record.name}. IN TXT {shown}"


def check_record(record: TxtRecord, look_up: Callable[[str, str], Rows | Away]) -> Check:
    """Compare the DNS with a record."""
    if ANY_DOMAIN in record.name:
        return Check(record, Published.UNASKED, "name the sending domain with --domain")
    answer = look_up(record.name, "TXT")
    if isinstance(answer, Away):
        return Check(record, Published.UNKNOWN, answer.reason)
    if not answer.rows:
        return Check(record, Published.NO, "there is no TXT record")
    if len(answer.rows) > 1:
        return Check(record, Published.OTHER, "there is more than one TXT record")
    try:
        found = parse_record(answer.rows[0])
    except KeyRecordError as error:
        return Check(record, Published.OTHER, str(error))
    if found.public_key != parse_record(record.text).public_key:
        return Check(record, Published.OTHER, "it has another key")
    return Check(record, Published.YES, "; ".join(found.warnings))
