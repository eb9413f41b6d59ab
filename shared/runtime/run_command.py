"""Runs a command of the command line, so that an output that cannot be written is one sentence.

A full disk shows itself in a write, or only in the flush at the end: both are caught here. That the
reader of a pipe has ended (`| head`) is no fault; Click ends the command quietly then.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Final, NoReturn

import click

from shared.runtime.exits import Exit
from shared.runtime.program_name import program_name

_CANNOT_WRITE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def run_command(command: click.Command, name: str) -> NoReturn:
    """Run the command with its arguments and end the process with its exit code."""
    code: str | int | None = Exit.OK
    try:
        try:
            command(prog_name=program_name(name))
        except SystemExit as end:
            code = end.code
        if sys.stdout is not None:  # the shell may have closed it (>&-)
            sys.stdout.flush()
    except OSError as error:
        if not is_unwritten(error):
            raise
        code = give_up_output(error)
    sys.exit(code)


def is_unwritten(error: OSError) -> bool:
    """Whether standard output could not take what was written (errors of files name the file)."""
    return error.errno in _CANNOT_WRITE and error.filename is None


def give_up_output(error: OSError) -> int:
    """Say that the output is incomplete, and drop the rest of it; return the exit code."""
    print(f"sluice: the output cannot be written: {error.strerror}", file=sys.stderr)  # noqa: T201
    # What is still in the buffer would fail again when the interpreter ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Exit.PART_UNAVAILABLE
