"""What every command says of an unknown client or other name: one sentence, with the closest name.

Commands on what has happened (events, usage) have no such error: a client that was removed has a
past.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Final

from cli.check.files import shown

NAMES_SHOWN: Final = 20  # at most so many known clients are listed


def unknown_client(name: str, known: Collection[str]) -> str:
    """Say that no client of this name is registered, and which are."""
    return f"no client {shown(name)!r} is registered; {_instead(name, known)}"


def unknown(what: str, name: str, known: Collection[str]) -> str:
    """Say that there is nothing of this name, such as a lane, and what there is."""
    return f"no {what} {shown(name)!r} is known; {_instead(name, known)}"


def _instead(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"known: {listed(known)}{hint}"


def listed(known: Collection[str]) -> str:
    """Return the names in order, but not too many."""
    names = sorted(known)
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return (", ".join(names[:NAMES_SHOWN]) or "none") + more
