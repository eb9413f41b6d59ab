"""Prints suppressions, and what a command has done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import click

from cli.answer import print_json
from cli.table import Column, Kind, lay_out, terminal_width
from cli.terminal import visible
from shared.plurals import counted
from shared.suppressions.entries import Explanation
from shared.topics.suppressions import Suppression

_COLUMNS: Final = ("client", "recipient", "reason", "state", "author", "note")


def entry_lines(entries: list[Suppression]) -> list[str]:
    if not entries:
        return ["no entries"]
    columns = [Column(name, Kind.TEXT if name == "note" else Kind.KEY) for name in _COLUMNS]
    rows = [
        [
            entry.client,
            entry.recipient,
            str(entry.reason),
            "active" if entry.active else "removed",
            entry.author,
            entry.note,
        ]
        for entry in entries
    ]
    return [*lay_out(columns, rows, terminal_width()), counted(len(entries), "entry", "entries")]


def explained_lines(found: Explanation) -> list[str]:
    head = f"{found.client}: {found.reason or 'gets mail'}"
    owner = f" of {found.inherited_from}" if found.inherited_from else ""
    if found.pattern:
        head += f" (block list{owner}: {found.pattern})"
    elif owner:
        head += f" (list{owner})"
    lines = [head]
    for entry in found.entries:
        state = "" if entry.active else ", removed"
        state += f", list of {entry.client}" if entry.client != found.client else ""
        note = f": {entry.note}" if entry.note else ""
        lines.append(f"    {entry.reason} by {entry.form}{state}, {entry.author}{note}")
    return [visible(line) for line in lines]


def report(document: Mapping[str, object], as_json: bool, sentence: str = "") -> None:
    """Print the document as JSON, or else the sentence (default: its fields)."""
    if as_json:
        print_json(document)
    else:
        click.echo(sentence or ", ".join(f"{name}: {value}" for name, value in document.items()))
