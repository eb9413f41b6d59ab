"""Turns the faults of a command into lines, JSON and an exit code, and refuses unknown names.

An unknown client or other name gives one sentence, with the closest name, and exit code 2. A
removed client that is kept counts as known, because operators ask for its mail and its months.
Commands about the past (events, billing) also accept a name for which they find anything, however
long ago the client was forgotten.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Collection
from functools import wraps
from typing import Final, ParamSpec

import click
import msgspec

from cli.answer import Exit, fail, print_json, say
from cli.check.files import shown
from shared.registry.file.yaml_tree import RegistryError
from shared.registry.store.view import load_known
from shared.runtime.errors import Unavailable, UsageError
from shared.settings.loader import SettingsError
from shared.settings.sections import KafkaSettings

P = ParamSpec("P")
NAMES_SHOWN: Final = 20  # at most so many known clients are listed


def answering(command: Callable[P, None]) -> Callable[P, None]:
    """Turn faults of a command, which has the option `as_json`, into an answer."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        as_json = bool(kwargs["as_json"])
        try:
            command(*args, **kwargs)
        except (RegistryError, SettingsError) as error:
            for fault in error.faults:
                say(str(fault))
            if as_json:
                print_json({"faults": [msgspec.to_builtins(fault) for fault in error.faults]})
            sys.exit(Exit.USAGE_ERROR)
        except (
            click.UsageError
        ) as error:  # raised for a value; click's own errors come before the command runs
            fail(error.format_message(), Exit.USAGE_ERROR, as_json)
        except UsageError as error:
            fail(str(error), Exit.USAGE_ERROR, as_json)
        except Unavailable as error:
            fail(str(error), Exit.PART_UNAVAILABLE, as_json)

    return wrapped


def unknown_client(name: str, known: Collection[str]) -> str:
    """Say that no client of this name is registered, and list the registered ones."""
    return f"no client {shown(name)!r} is registered; {_instead(name, known)}"


def require_known(kafka: KafkaSettings, name: str) -> None:
    """Refuse a client that is neither registered nor removed and kept.

    Raises UsageError, Unavailable.
    """
    known = load_known(kafka)
    if name not in known:
        raise UsageError(unknown_client(name, known))


def unknown(what: str, name: str, known: Collection[str]) -> str:
    """Say that nothing of the kind `what`, such as a lane, has this name; list the known names."""
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
