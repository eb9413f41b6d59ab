"""Shows the progress of the demo, as a live table on a terminal and otherwise as single lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final

from msgspec import Struct
from rich.console import Console
from rich.live import Live
from rich.text import Text

from cli.answer import say
from cli.terminal import Column, Kind, lay_out
from local.demo.observing import Counts
from local.demo.reconciliation import Reconciliation, Result
from shared.plurals import counted

# If there is no terminal, at most one line is printed in this many seconds, and only if something
# changed.
_LINE_EVERY_S: Final = 2.0
_REFRESH_PER_S: Final = 8
_PLAIN_WIDTH: Final = 80

MEANINGS: Final = {
    "refused": "violated a rule; never dispatched, not billed",
    "suppressed": "its recipient is blocked, or bounced too often; not billed",
    "delivered": "the recipient's server accepted it",
    "bounced": "permanently refused by the recipient's server",
    "expired": "could not be delivered before it expired",
}


REASONS: Final = {
    "bounced": "the recipient's server refused it, at once or by a later report",
    "refused": "its header or its mailing code is not valid",
    "suppressed": "the recipient is blocked, or over the limit",
    "complained": "delivered, but then reported as spam",
}


class Progress(Struct, frozen=True):
    """The progress of the demo."""

    published: int
    wanted: int
    counts: Counts

    @property
    def waiting(self) -> int:
        """Return the number of published messages that have no final event."""
        return max(0, self.published - self.counts.ended)


class Display:
    """Shows the progress while the demo runs, as a live table on a terminal, otherwise as plain
    lines.

    The output goes to standard error if standard output is for JSON. This class is a context
    manager.
    """

    def __init__(self, as_json: bool) -> None:
        stream = sys.stderr if as_json else sys.stdout
        width = None if stream.isatty() else _PLAIN_WIDTH
        self._console = Console(file=stream, highlight=False, width=width)
        self._live = (
            Live(console=self._console, refresh_per_second=_REFRESH_PER_S, transient=True)
            if self._console.is_terminal and not self._console.is_dumb_terminal
            else None
        )
        self._started = time.monotonic()
        self._said_at = 0.0
        self._said = ""

    def __enter__(self) -> Display:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, progress: Progress) -> None:
        if self._live:
            seconds = time.monotonic() - self._started
            lines = progress_lines(progress, seconds, self._console.width)
            self._live.update(Text("\n".join(lines)))
            return
        text = in_words(progress)
        now = time.monotonic()
        if text != self._said and now - self._said_at >= _LINE_EVERY_S:
            self._said, self._said_at = text, now
            say(text)

    def end(self, result: Result, reckoning: Reconciliation, next_steps: Sequence[str]) -> None:
        """Show the bill and the sink's counts, report whether both agree, and print hints."""
        console = self._console
        for line in bill_lines(reckoning, console.width):
            console.print(line, markup=False, soft_wrap=True)
        console.print()
        for line in reason_lines(reckoning, console.width):
            console.print(line, markup=False, soft_wrap=True)
        console.print()
        console.print(fates(result))
        if result.agree:
            console.print("[bold green]They agree.[/] Every message has exactly one final event.")
        else:
            console.print("[bold red]They do not agree:[/]")
            for difference in reckoning.differences:
                console.print(f"  - {difference}", markup=False)
        console.print("\nWhere to look next:")
        for step in next_steps:
            console.print(f"  {step}", markup=False, soft_wrap=True)


def in_words(progress: Progress) -> str:
    """Format the progress as one line."""
    counts = progress.counts
    parts = [f"{progress.published} of {progress.wanted} published"]
    words = (*MEANINGS, "deferred")
    parts += [f"{counts.word(word)} {word}" for word in words if counts.word(word)]
    return ", ".join([*parts, f"{progress.waiting} waiting"])


def progress_lines(progress: Progress, seconds: float, width: int) -> list[str]:
    """Return the lines of the live table."""
    columns = (Column("messages", Kind.COUNT), Column("outcome"), Column("", Kind.TEXT))
    counts = progress.counts
    rows = [
        (str(progress.published), "published", f"of {progress.wanted}"),
        *((str(counts.word(word)), word, meaning) for word, meaning in MEANINGS.items()),
        (str(progress.waiting), "waiting", "in the pipeline, or waiting for another attempt"),
        (
            str(counts.word("deferred")),
            "deferrals",
            "deferred by the recipient's server, tried again",
        ),
    ]
    return [f"sluice demo \N{MIDDLE DOT} {seconds:.0f} s", "", *lay_out(columns, rows, width)]


def bill_lines(reckoning: Reconciliation, width: int) -> list[str]:
    """Return the lines of the table that compares the bill with the counts of the sink."""
    columns = (
        *map(Column, ("client", "mailing ID", "sub-client")),
        Column("billed", Kind.COUNT),
        Column("sink answered", Kind.COUNT),
        Column("", Kind.TEXT),
    )
    rows: list[tuple[str, ...]] = []
    dispatched = reckoning.witness.dispatched
    for row in sorted({*reckoning.billed, *dispatched}):
        charged, answered = reckoning.billed.get(row, 0), dispatched[row]
        mark = "agree" if charged == answered else "DIFFER"
        rows.append((*row, str(charged), str(answered), mark))
    total = sum(reckoning.billed.values())
    rows.append(("all", "", "", str(total), str(dispatched.total()), ""))
    return ["The bill, compared with the counts of the sink", "", *lay_out(columns, rows, width)]


def reason_lines(reckoning: Reconciliation, width: int) -> list[str]:
    """Return the lines of a table with the reasons why mail did not arrive, and with returned
    mail."""
    columns = (
        Column("reason"),
        Column("messages", Kind.COUNT),
        Column("sent back", Kind.COUNT),
        Column("", Kind.TEXT),
    )
    finals, returns = reckoning.finals, reckoning.returns
    messages = {
        "bounced": finals.get("bounced", 0) + returns.returned,
        "refused": finals.get("refused", 0),
        "suppressed": finals.get("suppressed", 0),
        "complained": returns.complained,
    }
    came_back = returns.forwarded.get("returned", 0)
    sent = {**returns.forwarded, "bounced": returns.forwarded.get("bounced", 0) + came_back}
    rows = [
        (word, str(messages[word]), str(sent.get(word, 0)), meaning)
        for word, meaning in REASONS.items()
    ]
    return [
        "Why mail did not arrive, and what the clients got back",
        "",
        *lay_out(columns, rows, width),
    ]


def fates(result: Result) -> str:
    """Return the equation of published messages and outcomes, and the number of accepted
    messages."""
    rest = f", {result.waiting} waiting" if result.waiting else ""
    duplicates = counted(result.sink.duplicates, "duplicate")
    return (
        f"{result.published} published = {result.refused} refused + {result.suppressed} "
        f"suppressed + {result.delivered} delivered + {result.bounced} bounced + "
        f"{result.expired} expired{rest}. The sink accepted {result.sink.accepted}, including "
        f"{duplicates}. The demo took {result.seconds:.0f} s."
    )
