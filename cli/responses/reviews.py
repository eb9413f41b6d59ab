"""`sluice responses rewind|accept|incidents`: decides which bounces of a provider are counted.

`rewind` excludes the bounces of a provider in a window. `accept` counts bounces that are held
because of an incident. With --undo, each command takes back an earlier review of its kind. Each
command counts the log again, shows which recipients are freed and which are suppressed, and asks
for confirmation. Then the command writes the review to mail.control and the entries to
mail.suppressions. Because of the review, the validate service counts all bounces again. If a
command dies between the two writes, the command can be repeated. The second run finds the missing
entries, because the command always compares the log with and without the review, even if the review
is already written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click
from msgspec import Struct
from msgspec.structs import asdict, replace

from cli.answer import print_json
from cli.clients.faults import answering
from cli.options import find_kafka
from cli.responses.recounting import Question, find_change
from cli.responses.review_list import read_reviews, require_review, time_text, write_review
from cli.suppressions.options import author_of, authored, common, ending
from cli.suppressions.topic import open_stores, write_records
from cli.terminal import Column, Kind, lay_out, progress_bar, terminal_width
from shared.plurals import counted
from shared.responses.counting.batch import rules_of
from shared.responses.counting.incidents import Incidents, decode_incidents
from shared.responses.counting.rewinding import Change
from shared.settings.sections import KafkaSettings
from shared.store.counters import INCIDENTS_FIELD, CounterStore
from shared.topics.control import Review, ReviewVerdict, review_key
from shared.topics.suppressions import Suppression

F = TypeVar("F", bound=Callable[..., Any])
MAX_SHOWN: Final = 50


class Answers(Struct, frozen=True):
    """The options for the confirmation, the form of the answer, and the time limit."""

    is_dry: bool
    is_sure: bool
    as_json: bool
    timeout_s: float


def _time_ms(_context: click.Context, _option: click.Parameter, text: str) -> int:
    """Return the Unix milliseconds of an ISO 8601 time; a time without a zone is UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is not a time such as 2026-11-29T14:00 or 2026-11-29T14:00:00+01:00"
        ) from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


def _reviewing(command: F) -> F:
    """Add the options that `rewind` and `accept` share."""
    for option in (
        click.option("--timeout", "timeout_s", default=3_600.0, show_default=True,
                     type=click.FloatRange(1), help="Stop reading events after this many seconds."),
        click.option("--yes", "is_sure", is_flag=True, help="Do not ask for confirmation."),
        click.option("--dry-run", "is_dry", is_flag=True, help="Only show what would change."),
        click.option("--undo", is_flag=True, help="Undo an earlier review of this window."),
        click.option("--status", default="",
                     help="Only bounces with this enhanced status, such as 5.1.1."),
        click.option("--to", "until_ms", required=True, callback=_time_ms, metavar="TIME",
                     help="End of the window (exclusive)."),
        click.option("--from", "from_ms", required=True, callback=_time_ms, metavar="TIME",
                     help="Start of the window, such as 2026-11-29T14:00 (UTC without a zone)."),
        click.option("--provider", required=True,
                     help="Provider as shown in events, or a recipient domain."),
    ):  # fmt: skip
        command = option(command)
    return command


@click.command()
@_reviewing
@authored
@common
@answering
def rewind(**options: Any) -> None:
    """Exclude bounces of a provider in a window; undo suppressions that only these caused."""
    _review(ReviewVerdict.EXCLUDED, **options)


@click.command()
@_reviewing
@authored
@common
@answering
def accept(**options: Any) -> None:
    """Count the bounces of a provider in a window even if an incident holds them."""
    _review(ReviewVerdict.COUNTED, **options)


@click.command()
@common
@answering
def incidents(bootstrap: str, line: str, as_json: bool) -> None:
    """List the incidents at providers, and how many bounces they hold."""
    del bootstrap
    known = _incidents(open_stores(line).counters)
    is_open = set(known.open_ones())
    found = known.all_ones()
    if as_json:
        print_json([{**asdict(each), "open": each in is_open} for each in found])
        return
    columns = [Column(each) for each in ("provider", "status", "from", "until", "state")]
    rows = [
        [each.provider, each.status, time_text(each.opened_ms), time_text(each.last_ms),
         "open" if each in is_open else "over", f"{each.held:,}"]
        for each in found
    ]  # fmt: skip
    table = lay_out([*columns, Column("held", Kind.COUNT)], rows, terminal_width())
    click.echo("\n".join([*table, counted(len(found), "incident")]))


def _review(  # noqa: PLR0913 - a command has many options
    verdict: ReviewVerdict,
    *,
    provider: str,
    from_ms: int,
    until_ms: int,
    status: str,
    undo: bool,
    is_dry: bool,
    is_sure: bool,
    timeout_s: float,
    author: str,
    note: str,
    bootstrap: str,
    line: str,
    as_json: bool,
) -> None:
    if from_ms >= until_ms:
        raise click.UsageError("--to: the window must end after --from")
    if not provider.strip():
        raise click.UsageError("--provider: a name is needed, such as google or example.com")
    if as_json and not (is_sure or is_dry):
        raise click.UsageError(
            "--json needs --yes or --dry-run, because it does not ask for confirmation"
        )
    by = author_of(author, note)
    review = Review(
        provider.strip(),
        from_ms,
        until_ms,
        verdict,
        status,
        active=not undo,
        author=by.name,
        note=by.note,
        at_ms=by.at_ms,
    )
    answers = Answers(is_dry, is_sure, as_json, timeout_s)
    _carry_out(find_kafka(bootstrap, line), line, review, answers)


def _carry_out(kafka: KafkaSettings, line: str, review: Review, answers: Answers) -> None:
    stores, known = open_stores(line), read_reviews(kafka)
    if not review.active:
        require_review(review, known)
    question = _question(known, review, _incidents(stores.counters))
    with progress_bar() as bar:
        task = bar.add_task("counting mail.events again", total=None)
        change = find_change(
            kafka, question, answers.timeout_s, lambda number: bar.advance(task, number)
        )
    document = {
        "review": review,
        "bounces": change.bounces,
        "freed": change.freed,
        "added": change.added,
    }
    if not answers.as_json:
        click.echo("\n".join(_lines(review, change)))
    if answers.is_dry or (not answers.is_sure and not click.confirm("Go on?")):
        state = "nothing was changed"
    else:
        write_review(kafka, review)
        records = _records(review, change)
        state = ending(stores, write_records(kafka, records)) if records else "recorded"
    if answers.as_json:
        print_json({**document, "state": state})
    else:
        click.echo(state)


def _question(reviews: Mapping[bytes, Review], review: Review, known: Incidents) -> Question:
    """Return the review with both sets of counting rules, even if the review is already written."""
    others = [each for key, each in reviews.items() if key != review_key(review)]
    without = rules_of(known.policy, others)
    with_it = rules_of(known.policy, [*others, replace(review, active=True)])
    if review.active:
        return Question(review, without, with_it)
    return Question(replace(review, active=True), with_it, without)


def _records(review: Review, change: Change) -> list[Suppression]:
    """Return the entries to write. These entries reset no counters, because bounces are counted
    again."""
    told = {"author": review.author, "note": review.note, "at_ms": review.at_ms}
    freed = [replace(each, active=False, **told) for each in change.freed]
    return [*freed, *(replace(each, **told) for each in change.added)]


def _incidents(counters: CounterStore) -> Incidents:
    _, (value,) = counters.read([INCIDENTS_FIELD])
    return decode_incidents(value)


def _lines(review: Review, change: Change) -> list[str]:
    verb = "no longer reviewed" if not review.active else review.verdict.value
    status = f" with {review.status}" if review.status else ""
    window = f"{time_text(review.from_ms)} to {time_text(review.until_ms)}"
    head = f"{review.provider}{status}, {window}: {counted(change.bounces, 'bounce')} {verb}"
    return [head, *_part("get mail again", change.freed), *_part("get no more mail", change.added)]


def _part(what: str, entries: Sequence[Suppression]) -> list[str]:
    lines = [f"{counted(len(entries), 'recipient')}: {what}"]
    if not entries:
        return lines
    columns = [Column("client"), Column("recipient"), Column("reason")]
    rows = [[each.client, each.recipient, each.reason.value] for each in entries[:MAX_SHOWN]]
    more = len(entries) - MAX_SHOWN
    lines += lay_out(columns, rows, terminal_width())
    return [*lines, f"and {more:,} more (--json lists all)"] if more > 0 else lines
