"""Recognises misspelt names of headers and attributes of the contract. Pure.

A record may have headers of any name, and unknown ones are ignored. A misspelt header of the
contract must not be ignored, because then the message might be sent before its earliest time or be
billed to another mailing. Names are compared in lower case, by letters and digits only. So a name
is also found if it has other separators, look-alike characters or the prefix of another CloudEvents
binding (`ce-` in HTTP, `cloudEvents:` and `cloudEvents_` in AMQP).

Owns: finding the intended name. Does not own: the names (shared/topics/intake_fields.py).
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

# A name may be as long as a record, so only this many characters of it are compared and shown.
MAX_CHARS: Final = 100

_FIELDS: Final = {field.attribute: field for field in (*REQUIRED, *OPTIONAL)}
_DATA: Final = (DATA, DATA_BASE64.replace("_", ""))
_PREFIXES: Final = ("sluice", "cloudevents", "cloudevent", "ce", "x")
_OWN: Final = OWN_PREFIX.rstrip("-")
_OWN_FAMILY: Final = re.compile(rf"(?:x[^a-z0-9]*)?{_OWN}[^a-z0-9]")
_PUNCTUATION: Final = re.compile(r"[^a-z0-9]+")


def meant_header(name: str) -> str:
    """Return the header that an unknown name was meant to be, or "" if no name is similar."""
    bare = _bare(name)
    attribute, found = _without_prefixes(bare)
    field = _FIELDS.get(attribute)
    if field is None or not found - {"x"}:
        return ""
    return field.header if _OWN in found and field.header else EVENT_PREFIX + attribute


def meant_attribute(name: str) -> str:
    """Return the attribute that an unknown name was meant to be, or "" if no name is similar."""
    attribute, _ = _without_prefixes(_bare(name))
    return attribute if attribute in _FIELDS and attribute != name else ""


def is_data(name: str) -> bool:
    """Return whether a header was meant to hold the data of a CloudEvent, such as `ce_data`."""
    rest, found = _without_prefixes(_bare(name))
    return rest in _DATA and bool(found - {"x"})


def is_own(name: str) -> bool:
    """Return whether a header name begins with `sluice-`, in any spelling."""
    return _OWN_FAMILY.match(_plain(name)) is not None


def is_content_type(name: str) -> bool:
    """Return whether a header is `content-type` in another spelling."""
    return _bare(name) == _bare(CONTENT_TYPE.header)


def shown_name(name: str) -> str:
    """Return the name as ASCII text in which look-alike characters differ visibly."""
    return ascii(name[:MAX_CHARS])[1:-1]


def _plain(name: str) -> str:
    return unicodedata.normalize("NFKC", name[:MAX_CHARS]).lower()


def _bare(name: str) -> str:
    return _PUNCTUATION.sub("", _plain(name))


def _without_prefixes(bare: str) -> tuple[str, set[str]]:
    """Return the name without the prefixes in _PREFIXES, and the prefixes that were removed."""
    found: set[str] = set()
    while bare not in _FIELDS:
        prefix = next((one for one in _PREFIXES if bare.startswith(one)), "")
        if not prefix:
            break
        found.add(prefix)
        bare = bare.removeprefix(prefix)
    return bare, found
