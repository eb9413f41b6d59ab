"""Runs a command of the command line, so that an output that cannot be written is one sentence.

A full disk shows itself in a write, or only in the flush at the end: both are caught here. That the
reader of a pipe has ended (`| head`) is no fault; Click ends the command quietly then. Owns, too,
the name of a command in its usage lines.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, Final, NoReturn

import click

from shared.runtime.errors import Exit

_CANNOT_WRITE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
# The launcher sets it to the name by which it was called ("./sluice").
VARIABLE: Final = "SLUICE_COMMAND"


class OutputLost(OSError):
    """Standard output cannot take what is written."""


class _Output(io.FileIO):
    """Standard output, whose errors are told from those of files, which have the same numbers."""

    def write(self, content: Any, /) -> int:
        try:
            return super().write(content)
        except OSError as error:
            if error.errno in _CANNOT_WRITE:
                raise OutputLost(error.errno, error.strerror) from None
            raise


def guard_output() -> None:
    """Let standard output raise OutputLost. Call it once in a process, before anything is said."""
    out = sys.stdout
    if out is not None:  # the shell may have closed it (>&-)
        raw = _Output(out.fileno(), "wb", closefd=False)
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(raw), out.encoding, out.errors, line_buffering=raw.isatty()
        )


def run_command(command: click.Command, name: str) -> NoReturn:
    """Run the command with its arguments and end the process with its exit code."""
    code: str | int | None = Exit.OK
    take_short_help(command)
    guard_output()
    try:
        try:
            command(prog_name=program_name(name))
        except SystemExit as end:
            code = end.code
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        code = Exit.CHECK_FAILED  # as Click ends a command whose output nobody reads
    except OutputLost as error:
        code = give_up_output(error)
    sys.exit(code)


def take_short_help(command: click.Command) -> None:
    """Let the command and those below it take -h for --help, as the launcher does."""
    command.context_settings.setdefault("help_option_names", ["-h", "--help"])


def give_up_output(error: OutputLost) -> int:
    """Say that the output is incomplete, and drop the rest of it; return the exit code."""
    print(f"sluice: the output cannot be written: {error.strerror}", file=sys.stderr)  # noqa: T201
    _drop_output()
    return Exit.PART_UNAVAILABLE


def _drop_output() -> None:
    # What is still in the buffer would fail again when the interpreter ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def program_name(command: str) -> str | None:
    """Return `./sluice <command>` if the launcher runs it; None means `python -m ...`."""
    launcher = os.environ.get(VARIABLE)
    return f"{launcher} {command}" if launcher else None
