"""Prints the answers of commands as JSON or as lines, and ends commands with exit codes.

With --json, standard output holds one JSON document and nothing else; all other messages go to
standard error.

SIGINT, SIGTERM and SIGHUP raise one exception in the main thread. Only the first signal interrupts
the command. Later signals are ignored, so that the command can finish its clean-up.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Final, NoReturn

import msgspec

from shared.runtime.errors import Exit

__all__ = ["Exit", "fail", "print_json", "say"]
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopAskedError(BaseException):
    """A signal asked this command to end."""


def say(text: str) -> None:
    """Print a message for people, on standard error."""
    print(f"sluice: {text}", file=sys.stderr, flush=True)


def print_json(document: object) -> None:
    """Print the JSON document of the command."""
    encoded = msgspec.json.format(msgspec.json.encode(document), indent=2)
    sys.stdout.write(encoded.decode() + "\n")
    sys.stdout.flush()


def fail(text: str, code: Exit, as_json: bool) -> NoReturn:
    """Print the reason and end the command."""
    say(text)
    if as_json:
        print_json({"error": text})
    sys.exit(code)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within the block, the first of SIGNALS raises StopAskedError; later signals are ignored.

    A signal can interrupt any code, for example a call of a Kafka client. The clean-up of that
    client may then fail, too. So after a signal, the block always ends with StopAskedError, even if
    its code raises another exception.
    """
    is_asked = False

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal is_asked
        is_asked = True
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise StopAskedError

    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        yield
    except Exception as error:
        if is_asked:
            raise StopAskedError from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
