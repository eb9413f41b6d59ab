"""The options of removing a client, the question at a terminal, and the table of removed ones."""

from __future__ import annotations

from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from cli.clients import removing
from cli.clients.removing import make_removal, removed_as_json, removed_lines
from shared.registry.client import Client
from shared.registry.removal import DAY_MS, MailChoice, Removal

AT_MS = 20_000 * DAY_MS
REMOVAL = Removal(MailChoice.HOLD, AT_MS, AT_MS + 30 * DAY_MS, "ann", "unpaid")
CLIENT = Client("shop", "news.shop.example", "r@shop.example", "M-1", removal=REMOVAL)


@click.command()
def asking() -> None:
    """Ask, as the command does without --mail."""
    click.echo(f"chosen: {make_removal(['shop'], None, '30d', 'ann', '').mail}")


def test_at_a_terminal_the_choice_is_asked_for_until_it_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        removing, "sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True))
    )
    found = CliRunner().invoke(asking, input="\nkeep\nrefuse\n")
    assert found.exit_code == 0
    assert "chosen: refuse" in found.output
    for choice in MailChoice:
        assert f"  {choice.value}" in found.output


def test_off_a_terminal_the_option_is_named() -> None:
    found = CliRunner().invoke(asking, input="hold\n")
    assert found.exit_code == 2
    assert (
        "--mail is missing; choose what happens to mail of shop that was accepted" in found.output
    )
    assert "hold, refuse, deliver" in found.output


@pytest.mark.parametrize(("keep", "days"), [("1d", 1), ("24h", 1), ("30d", 30), ("3650d", 3_650)])
def test_a_client_is_kept_for_as_long_as_is_said(keep: str, days: int) -> None:
    removal = make_removal(["shop"], "deliver", keep, "ann", "r" * 1_000)
    assert removal.forget_at_ms - removal.at_ms == days * DAY_MS
    assert (removal.mail, removal.author, len(removal.reason)) == (MailChoice.DELIVER, "ann", 400)


@pytest.mark.parametrize("keep", ["", "0d", "23h", "3651d", "a month", "-1d"])
def test_a_time_that_is_none_is_told_with_an_example(keep: str) -> None:
    with pytest.raises(click.UsageError, match=r"--keep .*: give a time from 1d to 3650d"):
        make_removal(["shop"], "hold", keep, "", "")


def test_the_table_shows_who_removed_a_client_why_and_until_when_it_is_kept() -> None:
    heading, row = removed_lines([CLIENT], 200)[:2]
    assert heading.split() == [
        *("client", "sending", "domain", "mail", "removed", "kept", "until", "by", "reason")
    ]
    assert row.split() == [
        *("shop", "news.shop.example", "hold", "2024-10-04", "2024-11-03", "ann", "unpaid")
    ]
    found = removed_as_json(CLIENT, REMOVAL)
    assert (found["forgotten_on"], found["credentials"]) == ("2024-11-03", "0")
