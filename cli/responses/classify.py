"""`sluice responses classify`: shows what returned messages mean. The command writes nothing.

Owns: the command, its output, and the choice of the files. A path is a file or a folder. In a
folder, every regular file is read, in the order of the names; other files, such as a FIFO, are left
out. Does not own: reading messages (cli/check/files.py), the meaning (shared/responses). Exit
codes: 0 all paths were read, 2 wrong usage or a path that cannot be read. If a path cannot be read,
the command still reads the other paths.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from msgspec import Struct

from cli.answer import Exit, say
from cli.check.files import STANDARD_INPUT, FileFault, Message, read_messages, shown
from cli.check.lines import printable
from cli.terminal import Column, Kind, escape_unwritable, lay_out, terminal_width
from shared.responses.reading import understand
from shared.responses.rules.loading import load_rules
from shared.responses.rules.model import Rules
from shared.responses.understood import Understood

_HELP: Final = """Show how returned messages are classified.

PATHS are messages, folders (every file in them), mboxes, or - for standard input. A file whose
name ends in .eml is one message. Any other file is an mbox if its name ends in .mbox or if it
begins with "From "; otherwise it is one message.

The kinds are hard, soft, policy, content, auto-reply, reply, complaint, unsubscribe and unknown.

\b
Examples:
  sluice responses classify bounce.eml
  sluice responses classify ~/Maildir/new returned.mbox
  sluice responses classify --json - < bounce.eml

\b
Exit codes:
  0  all paths were read
  2  wrong usage, or a path that cannot be read
"""
_COLUMNS: Final = (
    Column("file"),
    Column("recipient"),
    Column("kind", Kind.TEXT),
    Column("status", Kind.TEXT),
    Column("rule", Kind.TEXT),
)


class Answer(Struct, frozen=True):
    """The file of a message, and the meaning of the message."""

    file: str
    understood: Understood


@click.command(name="classify", help=_HELP)
@click.argument("paths", nargs=-1, required=True)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one line of JSON per message on stdout."
)
def classify(paths: tuple[str, ...], as_json: bool) -> None:
    """Understand every message, print, and end with the exit code."""
    escape_unwritable(as_json)
    faults: list[str] = []
    answers = answers_of(load_rules(), paths, faults)
    if as_json:
        for answer in answers:
            sys.stdout.write(msgspec.json.encode(as_document(answer)).decode() + "\n")
    else:
        for line in table(list(answers), terminal_width()):
            click.echo(line)
    sys.stdout.flush()
    sys.exit(Exit.USAGE_ERROR if faults else Exit.OK)


def answers_of(rules: Rules, paths: Sequence[str], faults: list[str]) -> Iterator[Answer]:
    """Yield the meaning of each message; report each unreadable file and add it to `faults`."""
    for path in paths:
        for file in files_of(path):
            try:
                for message in _messages(file):
                    yield Answer(message.name, understand(message.content, rules))
            except FileFault as fault:
                say(str(fault))
                faults.append(str(fault))


def _messages(file: str | FileFault) -> Iterator[Message]:
    if isinstance(file, FileFault):
        raise file
    yield from read_messages(file)


def as_document(answer: Answer) -> dict[str, Any]:
    """Return the JSON document of one message, which is printed as one line."""
    understood = answer.understood
    return {
        "file": answer.file,
        "kind": understood.kind,
        "recipients": [
            {"address": one.address, "kind": one.kind, "status": one.status}
            for one in understood.recipients
        ],
        "rule": understood.rule,
    }


def table(answers: Sequence[Answer], width: int) -> list[str]:
    """Return a table with a row per message, or per recipient if a message names several
    recipients."""
    rows: list[list[str]] = []
    for answer in answers:
        understood = answer.understood
        name = printable(answer.file)
        if not understood.recipients:
            rows.append([name, "", understood.kind, "", understood.rule])
        for one in understood.recipients:
            rows.append([name, printable(one.address), one.kind, one.status, understood.rule])
    return lay_out(_COLUMNS, rows, width)


def files_of(path: str) -> Iterator[str | FileFault]:
    """Yield the files of a path in order, and a FileFault for a folder that cannot be read."""
    if path == STANDARD_INPUT or not Path(path).is_dir():
        yield path
        return
    faults: list[OSError] = []
    for folder, folders, names in os.walk(path, onerror=faults.append):
        folders.sort()
        files = (Path(folder, name) for name in sorted(names))
        # Opening a FIFO or a device could block for ever.
        yield from (str(file) for file in files if file.is_file())
        while faults:
            yield _fault(faults.pop())
    while faults:
        yield _fault(faults.pop())


def _fault(error: OSError) -> FileFault:
    return FileFault(f"{shown(str(error.filename))}: {error.strerror}")
