"""Parses the metadata of a platform: a small JSON object that its events carry. Pure.

Owns: the bounds. The whole text is bounded by intake_fields.METADATA. Never raises.
"""

from __future__ import annotations

import json
import re
from typing import Final

from services.ingest.core.intake.attributes import Text, fault
from shared.topics.records import Violation

MAX_ENTRIES: Final = 16
MAX_VALUE_CHARS: Final = 256
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
EXAMPLE: Final = '{"order":"7","campaign":"spring"}'


def parse_metadata(value: Text) -> dict[str, str] | Violation:
    """Return the names and values of the object; the fault if it is none, or exceeds the bounds."""
    try:
        pairs = json.loads(value.text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return fault(value.name, value.text, f"is not a JSON object: write it as {EXAMPLE}")
    if not isinstance(pairs, _Pairs):
        return fault(value.name, value.text, f"is not a JSON object: write it as {EXAMPLE}")
    found: dict[str, str] = {}
    for name, content in pairs:
        if cause := _cause(name, content):
            return fault(value.name, value.text, cause)
        if name in found:
            return fault(value.name, value.text, f"has {name} twice: give it once")
        found[name] = content
    if len(found) > MAX_ENTRIES:
        cause = f"has {len(found)} entries: at most {MAX_ENTRIES} are allowed"
        return fault(value.name, value.text, cause)
    return found


class _Pairs(list[tuple[str, str]]):
    """The pairs of a JSON object, also those with the same name."""


def _cause(name: str, content: object) -> str:
    if not _NAME.fullmatch(name):
        return "has a name that is not 1 to 64 letters, digits, `_`, `.` and `-`"
    if not isinstance(content, str):
        return f'has a value of {name} that is not a string: write it as "{name}":"..."'
    if len(content) > MAX_VALUE_CHARS:
        return f"has {len(content)} characters in {name}: at most {MAX_VALUE_CHARS} are allowed"
    return f"has a control character in {name}: remove it" if _CONTROL.search(content) else ""
