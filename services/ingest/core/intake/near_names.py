"""Recognises misspelt names of the headers and attributes of the contract. This module does no I/O.

A record may have headers with any name, and headers with unknown names are ignored. But a misspelt
header of the contract must not be ignored. Otherwise the message might be sent before its earliest
time, or be billed to another mailing. Names are compared in lower case, and only by their letters
and digits. So a name is also recognised if it has other separators, look-alike characters or the
prefix of another CloudEvents binding (`ce-` in HTTP, `cloudEvents:` and `cloudEvents_` in AMQP).

The known names are in shared/topics/intake_fields.py.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from shared.topics.intake_fields import (
    CONTENT_TYPE,
    DATA,
    DATA_BASE64,
    EVENT_PREFIX,
    OPTIONAL,
    OWN_PREFIX,
    REQUIRED,
)

# A name may be as long as a record, so only its first characters, up to this number, are compared
# and shown.
MAX_CHARS: Final = 100

_FIELDS: Final = {field.attribute: field for field in (*REQUIRED, *OPTIONAL)}
_DATA: Final = (DATA, DATA_BASE64.replace("_", ""))
_PREFIXES: Final = ("sluice", "cloudevents", "cloudevent", "ce", "x")
_OWN: Final = OWN_PREFIX.rstrip("-")
_OWN_FAMILY: Final = re.compile(rf"(?:x[^a-z0-9]*)?{_OWN}[^a-z0-9]")
_PUNCTUATION: Final = re.compile(r"[^a-z0-9]+")


def meant_header(name: str) -> str:
    """Return the known header name that is similar to this unknown name, or "" if no known name is
    similar."""
    bare = _bare(name)
    attribute, found = _without_prefixes(bare)
    field = _FIELDS.get(attribute)
    if field is None or not found - {"x"}:
        return ""
    return field.header if _OWN in found and field.header else EVENT_PREFIX + attribute


def meant_attribute(name: str) -> str:
    """Return the known attribute name that is similar to this unknown name, or "" if no known name
    is similar."""
    attribute, _ = _without_prefixes(_bare(name))
    return attribute if attribute in _FIELDS and attribute != name else ""


def is_data(name: str) -> bool:
    """Return True if the name means the data of a CloudEvent, for example `ce_data`."""
    rest, found = _without_prefixes(_bare(name))
    return rest in _DATA and bool(found - {"x"})


def is_own(name: str) -> bool:
    """Return True if a header name begins with `sluice-`, in any spelling."""
    return _OWN_FAMILY.match(_plain(name)) is not None


def is_content_type(name: str) -> bool:
    """Return True if a header name is `content-type` in any spelling."""
    return _bare(name) == _bare(CONTENT_TYPE.header)


def shown_name(name: str) -> str:
    """Return the name as ASCII text, in which look-alike characters are shown as different
    escapes."""
    return ascii(name[:MAX_CHARS])[1:-1]


def _plain(name: str) -> str:
    return unicodedata.normalize("NFKC", name[:MAX_CHARS]).lower()


def _bare(name: str) -> str:
    return _PUNCTUATION.sub("", _plain(name))


def _without_prefixes(bare: str) -> tuple[str, set[str]]:
    """Return the name without the prefixes in _PREFIXES, and the set of removed prefixes."""
    found: set[str] = set()
    while bare not in _FIELDS:
        prefix = next((one for one in _PREFIXES if bare.startswith(one)), "")
        if not prefix:
            break
        found.add(prefix)
        bare = bare.removeprefix(prefix)
    return bare, found
