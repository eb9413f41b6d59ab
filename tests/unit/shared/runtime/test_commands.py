"""What a group of commands answers to an option that stands before the command."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from shared.runtime.commands import HelpGroup, refuse_empty_options


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


@click.group(name="orders", cls=HelpGroup)
def orders() -> None:
    """Give orders."""


@orders.command()
@click.option("--client", default="")
@click.option("--month", default="", callback=lambda _context, _option, value: value.upper())
@click.option("--reason", default="")
def give(client: str, month: str, reason: str) -> None:
    """Give an order."""
    click.echo(f"{client}/{month}/{reason}")


refuse_empty_options(orders)


@pytest.mark.parametrize(
    ("words", "code", "wanted"),
    [
        ((), 0, "//"),
        (("--client", "a", "--month", "b"), 0, "a/B/"),
        (("--reason", ""), 0, "//"),
        (("--client", ""), 2, "Invalid value for '--client': it is empty"),
        (("--client=",), 2, "give a value or leave the option out"),
        (("--month", ""), 2, "Invalid value for '--month': it is empty"),
    ],
)
def test_an_empty_value_does_not_mean_that_the_option_was_left_out(
    words: tuple[str, ...], code: int, wanted: str
) -> None:
    done = CliRunner().invoke(orders, ("give", *words), prog_name="orders")
    assert done.exit_code == code
    assert wanted in done.output
