"""Turns the faults of a command into lines, JSON and an exit code, and refuses unknown names.

For an unknown name, such as the name of a client, a command prints one sentence with the closest
name and exits with code 2. A removed client counts as known until it is forgotten, because
operators ask about its mail and its bills. Commands about the past (events, billing) also accept a
forgotten client if they find anything under its name.
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
NAMES_SHOWN: Final = 20  # At most this many known clients are listed.


def answering(command: Callable[P, None]) -> Callable[P, None]:
    """Turn a command's faults into its answer; the command must have the parameter `as_json`."""

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
        ) as error:  # this error is about a value; click raises its own errors earlier
            fail(error.format_message(), Exit.USAGE_ERROR, as_json)
        except UsageError as error:
            fail(str(error), Exit.USAGE_ERROR, as_json)
        except Unavailable as error:
            fail(str(error), Exit.PART_UNAVAILABLE, as_json)

    return wrapped


def unknown_client(name: str, known: Collection[str]) -> str:
    """Return the sentence about an unregistered client; the text also lists registered clients."""
    hint = "" if known else "; register clients with `sluice clients apply`"
    return f"no client {shown(name)!r} is registered; {_instead(name, known)}{hint}"


def require_known(kafka: KafkaSettings, name: str) -> None:
    """Refuse a client that is not registered, unless it was removed and can still be restored.

    Raises UsageError, Unavailable.
    """
    known = load_known(kafka)
    if name not in known:
        raise UsageError(unknown_client(name, known))


def unknown(what: str, name: str, known: Collection[str]) -> str:
    """Return the sentence about an unknown name; `what` is the kind of name, such as lane."""
    return f"no {what} {shown(name)!r} is known; {_instead(name, known)}"


def _instead(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"known: {listed(known)}{hint}"


def listed(known: Collection[str]) -> str:
    """Return at most NAMES_SHOWN names in sorted order, as text."""
    names = sorted(known)
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return (", ".join(names[:NAMES_SHOWN]) or "none") + more
