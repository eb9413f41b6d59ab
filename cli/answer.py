"""How commands answer: one JSON document or lines for people, and the exit codes.

With --json standard output holds one JSON document and nothing else; everything said on the
way goes to standard error.
"""

from __future__ import annotations

import sys
from typing import NoReturn

import msgspec

from shared.runtime.errors import Exit

__all__ = ["Exit", "fail", "print_json", "say"]


def say(text: str) -> None:
    """Tell the person at the terminal, on standard error."""
    print(f"sluice: {text}", file=sys.stderr, flush=True)


def print_json(document: object) -> None:
    """Print the one JSON document."""
    encoded = msgspec.json.format(msgspec.json.encode(document), indent=2)
    sys.stdout.write(encoded.decode() + "\n")
    sys.stdout.flush()


def fail(text: str, code: Exit, as_json: bool) -> NoReturn:
    """End the command, telling why."""
    say(text)
    if as_json:
        print_json({"error": text})
    sys.exit(code)
