"""Shows the progress of the demo: a live table on a terminal, otherwise single lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final

from msgspec import Struct
from rich.console import Console
from rich.live import Live
from rich.table import Table

from cli.answer import say
from local.demo.event_follower import Counts
from local.demo.reconciliation import Reconciliation, Result

# Without a terminal: at most one line in this time, and only if something changed.
_LINE_EVERY_S: Final = 2.0
_REFRESH_PER_S: Final = 8
_PLAIN_WIDTH: Final = 100

MEANINGS: Final = {
    "refused": "violated a rule; never dispatched, not billed",
    "suppressed": "its recipient is on the client's block list; not billed",
    "delivered": "the recipient's server accepted it",
    "bounced": "permanently refused by the recipient's server",
    "expired": "could not be delivered before it expired",
}


class Progress(Struct, frozen=True):
    """The progress of the demo."""

    published: int
    wanted: int
    counts: Counts

    @property
    def in_flight(self) -> int:
        """The number of published messages without a final event."""
        return max(0, self.published - self.counts.ended)


class Display:
    """A context manager: live on a terminal, plain otherwise; on standard error if standard
    output is for JSON."""

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
        """Show the progress."""
        if self._live:
            self._live.update(self._table(progress))
            return
        text = in_words(progress)
        now = time.monotonic()
        if text != self._said and now - self._said_at >= _LINE_EVERY_S:
            self._said, self._said_at = text, now
            say(text)

    def _table(self, progress: Progress) -> Table:
        seconds = time.monotonic() - self._started
        table = Table(title=f"sluice demo · {seconds:.0f} s", title_justify="left")
        table.add_column("messages", justify="right")
        table.add_column("outcome")
        table.add_column("")
        table.add_row(str(progress.published), "published", f"of {progress.wanted}")
        for word, meaning in MEANINGS.items():
            table.add_row(str(progress.counts.word(word)), word, meaning)
        waiting = "in the pipeline, or waiting for another attempt"
        table.add_row(str(progress.in_flight), "in flight", waiting)
        deferrals = progress.counts.word("deferred")
        table.add_row(
            str(deferrals), "deferrals", "deferred by the recipient's server, tried again"
        )
        return table

    def end(self, result: Result, reckoning: Reconciliation, next_steps: Sequence[str]) -> None:
        """Show the bill beside the sink's counts, whether they agree, and where to look next."""
        console = self._console
        console.print(_bill(reckoning))
        console.print(_fates(result))
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
    return ", ".join([*parts, f"{progress.in_flight} in flight"])


def _bill(reckoning: Reconciliation) -> Table:
    table = Table(title="The bill, beside the counts of the sink", title_justify="left")
    for name in ("client", "mailing ID", "sub-client"):
        table.add_column(name)
    for name in ("billed", "sink answered"):
        table.add_column(name, justify="right")
    table.add_column("")
    dispatched = reckoning.witness.dispatched
    for row in sorted({*reckoning.billed, *dispatched}):
        counted, answered = reckoning.billed.get(row, 0), dispatched[row]
        mark = "agree" if counted == answered else "DIFFER"
        table.add_row(*row, str(counted), str(answered), mark)
    table.add_section()
    total = sum(reckoning.billed.values())
    table.add_row("all", "", "", str(total), str(dispatched.total()), "")
    return table


def _fates(result: Result) -> str:
    rest = f", {result.in_flight} in flight" if result.in_flight else ""
    return (
        f"{result.published} published = {result.refused} refused + {result.suppressed} suppressed"
        f" + {result.delivered} delivered + {result.bounced} bounced + {result.expired} expired"
        f"{rest}. The sink accepted {result.sink.accepted}, of these {result.sink.duplicates}"
        " duplicates; "
        f"{result.seconds:.0f} s."
    )
