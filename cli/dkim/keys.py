"""Finds the state and the TXT record of each DKIM key, and compares the record with the DNS. Pure.

Owns: the text of a record, its form in a zone file, and the judgement of a published record. Does
not own: parsing a record (shared/mailauth/dkim_record.py). The caller makes the look-ups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct

from shared.mailauth.dkim_keys.folder import PrivateKey
from shared.mailauth.dkim_keys.table import Key, KeyEntry, KeyIndex
from shared.mailauth.dkim_record import KeyRecordError, parse_record, public_key_of
from shared.mailauth.spf.evaluation import Away, Rows

_MAX_STRING: Final = 255  # RFC 1035, 3.3.
# This text stands for the sending domain if the key has no domain.
ANY_DOMAIN: Final = "<sending domain>"


class State(StrEnum):
    """The present state of a key."""

    SIGNS = "signs"
    WAITS = "waits"  # The start time of the key is in the future.
    REPLACED = "replaced"  # A newer key of the same kind signs.
    ENDED = "ended"


class KeyState(Struct, frozen=True):
    """A key and its state."""

    key: Key[PrivateKey]
    state: State

    @property
    def is_needed(self) -> bool:
        """Return True if the record must be in the DNS, because the key signs or will sign."""
        return self.state in {State.SIGNS, State.WAITS}


class Published(StrEnum):
    """The result of looking for a record in the DNS."""

    YES = "published"
    NO = "missing"
    OTHER = "different"
    UNKNOWN = "unknown"  # The DNS did not answer.
    UNASKED = "not asked"  # The domain is not known.


class TxtRecord(Struct, frozen=True):
    """A record to publish: its full name without the last dot, and its text."""

    name: str
    text: str


class Made(Struct, frozen=True):
    """A new key: its entry, its record, and the entry of the key that will replace this key, or
    None."""

    entry: KeyEntry
    record: TxtRecord
    next: KeyEntry | None


class Check(Struct, frozen=True):
    """The records found in the DNS, and the reason if they differ from the expected record."""

    record: TxtRecord
    published: Published
    reason: str = ""


def states_of(keys: Sequence[Key[PrivateKey]], now_s: float) -> list[KeyState]:
    """Return the state of each key, in the order of the table."""
    index = KeyIndex(keys)
    return [KeyState(key, _state(key, index, now_s)) for key in keys]


def successor(entry: KeyEntry, keys: Sequence[Key[PrivateKey]]) -> KeyEntry | None:
    """Return the entry in `keys` that will replace this entry, or None."""
    algorithm = next(key.algorithm for key in keys if key.entry == entry)
    later = [
        key.entry
        for key in keys
        if (key.entry.scope, key.algorithm) == (entry.scope, algorithm)
        and key.entry.starts_at_s > entry.starts_at_s
    ]
    return min(later, key=lambda each: each.starts_at_s, default=None)


def _state(key: Key[PrivateKey], index: KeyIndex[PrivateKey], now_s: float) -> State:
    entry = key.entry
    if now_s < entry.starts_at_s:
        return State.WAITS
    if not entry.is_active(now_s):
        return State.ENDED
    signing = index.choose(entry.client, entry.domain, now_s)
    return State.SIGNS if any(each is key for each in signing) else State.REPLACED


def record_of(entry: KeyEntry, key: PrivateKey, domain: str = "") -> TxtRecord:
    """Return the TXT record of a key for a domain, by default for the key's own domain."""
    kind, public = public_key_of(key.public_key())
    where = domain or entry.domain or ANY_DOMAIN
    return TxtRecord(f"{entry.selector}._domainkey.{where}", f"v=DKIM1; k={kind}; p={public}")


def zone_line(record: TxtRecord) -> str:
    """Return the record as a line of a zone file, with strings of at most 255 octets."""
    text = record.text
    strings = [text[at : at + _MAX_STRING] for at in range(0, len(text), _MAX_STRING)]
    quoted = " ".join(f'"{string}"' for string in strings)
    shown = quoted if len(strings) == 1 else f"( {quoted} )"
    return f"{record.name}. IN TXT {shown}"


def check_record(record: TxtRecord, look_up: Callable[[str, str], Rows | Away]) -> Check:
    """Compare the record in the DNS with the expected record."""
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
        return Check(record, Published.OTHER, "the TXT record has another key")
    return Check(record, Published.YES, "; ".join(found.warnings))
