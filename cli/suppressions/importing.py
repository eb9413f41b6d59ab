"""`sluice suppressions import`: imports the recipients of a CSV file, or the entries of an export.

Owns: the command, and the report on the lines that are left out. Does not own: reading the lines
(shared/suppressions/csv_file.py), writing the entries (topic.py). The use of memory is bounded,
except for the report on faulty lines.
"""

from __future__ import annotations

import io
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Final, TextIO

import click

from cli.answer import Exit, say
from cli.clients.faults import answering
from cli.options import find_kafka
from cli.suppressions.options import (
    author_of,
    authored,
    common,
    ending,
    of_client,
    report,
    require_client,
)
from cli.suppressions.topic import open_stores, write_records
from cli.terminal import progress_bar
from shared.suppressions.csv_file import NOT_UTF_8, FaultyLine, Recipient, parse_rows
from shared.suppressions.entries import Author, addition
from shared.topics.suppressions import Suppression, SuppressionReason

_MAX_FAULTS: Final = 20
_REMOVED: Final = "removed"
_OF_OTHERS: Final = "of others"


@click.command("import")
@click.argument("path", type=click.Path(path_type=Path, allow_dash=True))
@of_client
@authored
@common
@answering
def import_(  # noqa: PLR0913
    path: Path, *, client: str, author: str, note: str, bootstrap: str, line: str, as_json: bool
) -> None:
    """Suppress the recipients of the CSV file PATH (- for standard input) for a client.

    One recipient per line: an address, or its SHA-256 or MD5. If a line has no valid recipient,
    the line is reported and the others are imported; then the exit code is 1. An import can be
    repeated.

    If `export` wrote the file, the active entries of the client are restored with their reasons;
    removed entries and entries of other clients are omitted and counted.
    """
    kafka = find_kafka(bootstrap, line)
    require_client(kafka, client)
    by = author_of(author, note or f"imported from {path.name}")
    faults: list[FaultyLine] = []
    left: Counter[str] = Counter()
    imported = 0

    def count(number: int) -> None:
        nonlocal imported
        imported += number
        bar.update(task, completed=imported)

    with _opened(path) as lines, progress_bar() as bar:
        task = bar.add_task("importing", total=None)
        end = write_records(kafka, _imported(lines, client, by, faults, left), count)
    for fault in faults[:_MAX_FAULTS]:
        say(f"{path}:{fault.number}: {fault.reason}: {fault.text!r}")
    if len(faults) > _MAX_FAULTS:
        say(f"and {len(faults) - _MAX_FAULTS} more lines")
    state = ending(open_stores(line), end) if imported else "unchanged"
    report(
        {
            "imported": imported,
            "faulty": len(faults),
            "removed": left[_REMOVED],
            "of_others": left[_OF_OTHERS],
            "state": state,
        },
        as_json,
    )
    is_whole = not faults and (imported or not left[_OF_OTHERS])
    sys.exit(Exit.OK if is_whole else Exit.CHECK_FAILED)


def _imported(
    lines: TextIO, client: str, by: Author, faults: list[FaultyLine], left: Counter[str]
) -> Iterator[Suppression]:
    """Yield the entries to write; `left` counts the entries of an export that are left out."""
    for row in parse_rows(lines):
        match row:
            case FaultyLine():
                faults.append(row)
            case Recipient():
                yield addition(client, row, SuppressionReason.IMPORTED, by)
            case Suppression(active=False):
                left[_REMOVED] += 1
            case Suppression() if row.client != client:
                left[_OF_OTHERS] += 1
            case Suppression():
                yield row


def _opened(path: Path) -> nullcontext[TextIO] | TextIO:
    if str(path) == "-":
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(encoding="utf-8", errors=NOT_UTF_8)
        return nullcontext(sys.stdin)
    try:
        return path.open(encoding="utf-8", errors=NOT_UTF_8, newline="")
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror}") from None
