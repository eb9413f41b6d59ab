"""What a group of commands answers to an option that stands before the command."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from shared.runtime.commands import HelpGroup


@click.group(name="things", cls=HelpGroup)
def things() -> None:
    """Do things."""


@things.command
@click.option("--state")
def show(state: str) -> None:
    """Show them."""
    click.echo(f"show {state}")


@things.command
def apply() -> None:
    """Apply them."""


@things.command(name="list")
@click.option("--state")
def list_(state: str) -> None:
    """List them."""
    click.echo(f"list {state}")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("--state", "a", "show"), "--state goes after the command: `things show --state ...`"),
        (("--state=a", "show"), "--state goes after the command: `things show --state ...`"),
        (("--state", "a"), "--state goes after the command: `things list --state ...`"),
        (("--other", "show"), "No such option"),
    ],
)
def test_an_option_of_a_command_before_its_name_is_answered_with_its_place(
    words: tuple[str, ...], wanted: str
) -> None:
    done = CliRunner().invoke(things, words, prog_name="things")
    assert done.exit_code == 2
    assert wanted in done.output


def test_an_option_behind_its_command_is_read() -> None:
    done = CliRunner().invoke(things, ("list", "--state", "a"))
    assert done.output == "list a\n"
