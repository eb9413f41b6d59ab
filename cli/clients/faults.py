"""How the commands of the registry tell faults: in lines, as JSON, by the exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import msgspec

from cli.answer import Exit, fail, print_json, say
from shared.registry.file.clients_file import RegistryError
from shared.runtime.errors import Unavailable
from shared.settings.loader import SettingsError

P = ParamSpec("P")


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
        except Unavailable as error:
            fail(str(error), Exit.PART_UNAVAILABLE, as_json)

    return wrapped
