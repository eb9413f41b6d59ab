"""A click group that suggests the verb a person may have meant."""

from __future__ import annotations

from difflib import get_close_matches

import click


class CommandGroup(click.Group):
    """A group whose error for an unknown verb names the closest known one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the verb and its arguments. Raises click.UsageError for an unknown verb."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            close = get_close_matches(args[0], self.list_commands(ctx), 1)
            if not close or "did you mean" in error.message.lower():
                raise
            raise click.UsageError(f"{error.message} Did you mean {close[0]!r}?", ctx) from None
