"""The group of every command: its help lists the commands with whole sentences.

Click cuts the first sentence of a command's help at the width of the terminal; a list of halves of
sentences helps nobody to choose.
"""

from __future__ import annotations

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
