"""What all commands of the command line share: their group, their names, and lost output.

The help of a group lists its commands with whole sentences, because Click cuts the first sentence
of a command's help at the width of the terminal. An option that stands before its command's name is
refused with the right order.

If standard output cannot be written, a command says so in one sentence: a full disk is noticed
either in a write or in the flush at the end, and both are caught here. If the reader of a pipe has
ended (`| head`), that is no fault: Click ends the command without a word.
"""

from __future__ import annotations

import difflib
import errno
import io
import os
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import click

from shared.runtime.errors import Exit

_CANNOT_WRITE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
# The launcher sets it to the name by which it was called ("./sluice").
VARIABLE: Final = "SLUICE_COMMAND"
# More than any first sentence; Click asks for a limit.
_WHOLE: Final = 10_000


class OutputLost(OSError):
    """Standard output cannot be written."""


class _Output(io.FileIO):
    """Standard output, whose errors are distinguished from those of files by their type."""

    def write(self, content: Any, /) -> int:
        try:
            return super().write(content)
        except OSError as error:
            if error.errno in _CANNOT_WRITE:
                raise OutputLost(error.errno, error.strerror) from None
            raise


def guard_output() -> None:
    """Let standard output raise OutputLost. Call it once per process, before any output."""
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


class HelpGroup(click.Group):
    """A group whose help wraps the first sentence of each command instead of cutting it."""

    group_class = type

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [
            (name, command.get_short_help_str(_WHOLE))
            for name, command in found
            if command is not None and not command.hidden
        ]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words before the command. Raises UsageError."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            name = self._command_with(ctx, error.option_name, given)
            if name is None:
                raise
            where = f"{ctx.command_path} {name} {error.option_name}"
            reason = f"{error.option_name} goes after the command: `{where} ...`"
            raise click.UsageError(reason, ctx) from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown one is refused in the words of the launcher."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand:
            close = difflib.get_close_matches(args[0].lower(), self.list_commands(ctx), 1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"no command is named {args[0]!r}.{hint}", ctx) from None

    def _command_with(self, ctx: click.Context, option: str, given: Sequence[str]) -> str | None:
        """Return a command with this option: the given command if it has it, else the first."""
        found = [
            name
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) is not None
            and any(option in each.opts for each in command.params)
        ]
        return next((name for name in found if name in given), found[0] if found else None)
