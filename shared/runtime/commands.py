"""Provides what all commands share: their group, their names, and the handling of lost output.

Click's list of commands cuts the first sentence of each command's help at the width of the
terminal. HelpGroup wraps that sentence instead. If an option stands before its command's name, the
command line is refused, and the error shows the right order.

An option with an empty value is refused if the option may be left out.

If standard output cannot be written, a command reports this in one sentence. A full disk causes an
error in a write or in the flush at the end; both errors are caught here. If the reader of a pipe
(`| head`) has ended, the command ends without a message, because this is not an error.
"""

from __future__ import annotations

import difflib
import errno
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

import click
from click.core import ParameterSource

from shared.runtime.errors import Exit

_CANNOT_WRITE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
# The launcher sets this variable to the name by which the launcher was called ("./sluice").
VARIABLE: Final = "SLUICE_COMMAND"
# These options may be empty, because their values have no effect except to be shown.
_FREE_TEXTS: Final = frozenset({"--author", "--note", "--reason"})
_Callback = Callable[[click.Context, click.Parameter, Any], Any]
# Click requires a limit for the first sentence; this limit is longer than any first sentence.
_WHOLE: Final = 10_000


class OutputLost(OSError):
    """Standard output cannot be written."""


class _Output(io.FileIO):
    """Standard output that raises OutputLost, so that its errors differ from errors of files."""

    def write(self, content: Any, /) -> int:
        try:
            return super().write(content)
        except OSError as error:
            if error.errno in _CANNOT_WRITE:
                raise OutputLost(error.errno, error.strerror) from None
            raise


def guard_output() -> None:
    """Make standard output raise OutputLost. Call this once per process, before any output."""
    out = sys.stdout
    if out is not None:  # the shell may have closed standard output (>&-)
        raw = _Output(out.fileno(), "wb", closefd=False)
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(raw), out.encoding, out.errors, line_buffering=raw.isatty()
        )


def run_command(command: click.Command, name: str) -> NoReturn:
    """Run the command with its arguments and end the process with its exit code."""
    code: str | int | None = Exit.OK
    take_short_help(command)
    refuse_empty_options(command)
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
        code = Exit.CHECK_FAILED  # Click also uses this exit code if nobody reads the output
    except OutputLost as error:
        code = give_up_output(error)
    sys.exit(code)


def take_short_help(command: click.Command) -> None:
    """Let the command and its sub-commands accept -h for --help, as the launcher does."""
    command.context_settings.setdefault("help_option_names", ["-h", "--help"])


def refuse_empty_options(command: click.Command) -> None:
    """Let the command and its sub-commands refuse empty values on the command line.

    An option whose default is "" often limits what the command shows or changes. In a script,
    `--client "$CLIENT"` with an unset variable would mean all clients.
    """
    for option in command.params:
        may_be_left_out = isinstance(option, click.Option) and option.default == ""
        if may_be_left_out and not _FREE_TEXTS.intersection(option.opts):
            option.callback = _refusing_empty(option.callback)
    if isinstance(command, click.Group):
        for each in command.commands.values():
            refuse_empty_options(each)


def _refusing_empty(then: _Callback | None) -> _Callback:
    def check(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        source = context.get_parameter_source(parameter.name or "")
        if value == "" and source is ParameterSource.COMMANDLINE:
            raise click.BadParameter("it is empty; give a value or leave the option out")
        return value if then is None else then(context, parameter, value)

    return check


def give_up_output(error: OutputLost) -> int:
    """Report that the output is incomplete, drop its rest, and return the exit code."""
    print(f"sluice: the output cannot be written: {error.strerror}", file=sys.stderr)  # noqa: T201
    _drop_output()
    return Exit.PART_UNAVAILABLE


def _drop_output() -> None:
    # Without this step, the interpreter would fail again at its end, when it flushes the buffer.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def program_name(command: str) -> str | None:
    """Return `./sluice <command>` if the launcher runs the command, or None for `python -m ...`."""
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
        """Parse the options before the command. Raises UsageError."""
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
        """Find the command; refuse an unknown command with the same text as the launcher."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand:
            close = difflib.get_close_matches(args[0].lower(), self.list_commands(ctx), 1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"no command is named {args[0]!r}.{hint}", ctx) from None

    def _command_with(self, ctx: click.Context, option: str, given: Sequence[str]) -> str | None:
        """Return a command that has this option, preferably a command from the command line."""
        found = [
            name
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) is not None
            and any(option in each.opts for each in command.params)
        ]
        return next((name for name in found if name in given), found[0] if found else None)
