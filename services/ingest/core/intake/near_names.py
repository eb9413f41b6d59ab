"""Header and attribute names that are nearly one of the contract's. Pure.

A record may carry headers of any name, and those of others are ignored. A header that was meant
as one of ours must not be: the message would leave before its earliest time, or be billed to
another mailing. Names are compared in lower case and without anything but letters and digits,
so that other separators, other letters of the same shape and the prefixes of the other
CloudEvents bindings (`ce-` in HTTP, `cloudEvents:` and `cloudEvents_` in AMQP) are found.

Owns: which name was meant. Does not own: the names (shared/topics/intake_fields.py).
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from shared.topics.intake_fields import CONTENT_TYPE, EVENT_PREFIX, OPTIONAL, OWN_PREFIX, REQUIRED

# A name may be as long as a record; what is longer than this is like none of ours.
MAX_CHARS: Final = 100

_FIELDS: Final = {field.attribute: field for field in (*REQUIRED, *OPTIONAL)}
_PREFIXES: Final = ("sluice", "cloudevents", "cloudevent", "ce", "x")
_OWN: Final = OWN_PREFIX.rstrip("-")
_OWN_FAMILY: Final = re.compile(rf"(?:x[^a-z0-9]*)?{_OWN}[^a-z0-9]")
_PUNCTUATION: Final = re.compile(r"[^a-z0-9]+")


def meant_header(name: str) -> str:
    """The header that was meant by one that is not known; "" where it is like none."""
    bare = _bare(name)
    attribute, found = _without_prefixes(bare)
    field = _FIELDS.get(attribute)
    if field is None or not found - {"x"}:
        return ""
    return field.header if _OWN in found and field.header else EVENT_PREFIX + attribute


def meant_attribute(name: str) -> str:
    """The attribute of a structured event that was meant; "" where it is like none."""
    attribute, _ = _without_prefixes(_bare(name))
    return attribute if attribute in _FIELDS and attribute != name else ""


def is_own(name: str) -> bool:
    """Whether a header is of the family `sluice-`, however that is written."""
    return _OWN_FAMILY.match(_plain(name)) is not None


def is_content_type(name: str) -> bool:
    """Whether a header is `content-type` in another spelling."""
    return _bare(name) == _bare(CONTENT_TYPE.header)


def shown_name(name: str) -> str:
    """A name as text in which each letter can be told from its look-alikes."""
    return ascii(name[:MAX_CHARS])[1:-1]


def _plain(name: str) -> str:
    return unicodedata.normalize("NFKC", name[:MAX_CHARS]).lower()


def _bare(name: str) -> str:
    return _PUNCTUATION.sub("", _plain(name))


def _without_prefixes(bare: str) -> tuple[str, set[str]]:
    """The name without every prefix of _PREFIXES before it, and which these were."""
    found: set[str] = set()
    while bare not in _FIELDS:
        prefix = next((one for one in _PREFIXES if bare.startswith(one)), "")
        if not prefix:
            break
        found.add(prefix)
        bare = bare.removeprefix(prefix)
    return bare, found
