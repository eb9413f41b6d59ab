"""The group of every command: its help lists the commands with whole sentences.

Click cuts the first sentence of a command's help at the width of the terminal; a list of halves of
sentences helps nobody to choose. An option of a command that stands before the command's name is
answered with where it belongs.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Final

import click

# More than any first sentence; Click asks for a limit.
_WHOLE: Final = 10_000


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
        """Find the command; one that there is not is refused in the words of the launcher."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand:
            close = difflib.get_close_matches(args[0].lower(), self.list_commands(ctx), 1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"no command is named {args[0]!r}.{hint}", ctx) from None

    def _command_with(self, ctx: click.Context, option: str, given: Sequence[str]) -> str | None:
        """Return a command that has this option: the one that is given, else the first."""
        found = [
            name
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) is not None
            and any(option in each.opts for each in command.params)
        ]
        return next((name for name in found if name in given), found[0] if found else None)
