"""`sluice responses reviews`, and whether there is a review that --undo can take back.

Owns: what is said about the reviews on mail.control. Does not own: reading and writing them
(review_topic.py), the commands that make them (reviews.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import click
from msgspec.structs import asdict

from cli.answer import print_json
from cli.clients.faults import answering
from cli.responses.review_topic import read_reviews
from cli.suppressions.options import common
from cli.table import Column, Kind, lay_out, terminal_width
from cli.target import find_kafka
from shared.plurals import counted
from shared.topics.control import Review, ReviewVerdict, review_key

_COMMANDS = {ReviewVerdict.EXCLUDED: "rewind", ReviewVerdict.COUNTED: "accept"}


@click.command()
@click.option("--all", "with_undone", is_flag=True, help="Reviews that were taken back, too.")
@common
@answering
def reviews(*, with_undone: bool, bootstrap: str, line: str, as_json: bool) -> None:
    """List the windows of providers that were reviewed with rewind or accept."""
    known = read_reviews(find_kafka(bootstrap, line)).values()
    found = sorted(
        (each for each in known if each.active or with_undone),
        key=lambda each: (each.provider, each.from_ms, each.until_ms, each.status),
    )
    if as_json:
        print_json([{**asdict(each), "active": each.active} for each in found])
    else:
        click.echo("\n".join(_lines(found)))


def require_review(asked: Review, known: Mapping[bytes, Review]) -> None:
    """Raise click.UsageError if --undo has nothing to take back.

    A review that is taken back already passes: the command before may have died after it.
    """
    found = known.get(review_key(asked))
    if found is None:
        raise click.UsageError(f"--undo: no such window was reviewed. {_others(asked, known)}")
    if found.verdict is not asked.verdict:
        raise click.UsageError(
            f"--undo: the bounces of this window are {found.verdict.value}; `sluice responses"
            f" {_COMMANDS[found.verdict]} --undo` takes that back"
        )


def time_text(at_ms: int) -> str:
    """Return a time as the commands take and show it."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _others(asked: Review, known: Mapping[bytes, Review]) -> str:
    windows = [
        f"{time_text(each.from_ms)} to {time_text(each.until_ms)}"
        + (f" with status {each.status}" if each.status else "")
        for each in known.values()
        if each.active and each.provider == asked.provider
    ]
    if not windows:
        return f"{asked.provider} has none; `sluice responses reviews` lists all"
    return f"Those of {asked.provider}: {'; '.join(sorted(windows))}"


def _lines(found: Iterable[Review]) -> list[str]:
    names = ("provider", "status", "from", "until", "verdict", "state", "author", "note")
    columns = [Column(name, Kind.TEXT if name == "note" else Kind.KEY) for name in names]
    rows = [
        [each.provider, each.status, time_text(each.from_ms), time_text(each.until_ms),
         each.verdict.value, "in force" if each.active else "taken back", each.author, each.note]
        for each in found
    ]  # fmt: skip
    said = counted(len(rows), "review")
    return [*lay_out(columns, rows, terminal_width()), said] if rows else [said]
