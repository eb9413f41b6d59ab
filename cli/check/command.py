"""`sluice check`: judges messages by the rules before they are sent.

Owns: the command, finding the client, and the output. Does not own: reading the paths (files.py),
the verdict and its words (verdict.py). The command writes nothing. Exit codes: 0 all messages are
accepted, 1 at least one message is not accepted, 2 wrong usage, an unknown client or a file that
cannot be read, 3 Kafka is unavailable.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Final

import click
from msgspec import Struct
from rich.console import Console
from rich.text import Text

from cli.answer import Exit, fail, print_json
from cli.check.files import FileFault, find_files, read_messages, shown
from cli.check.verdict import Row, Verdict, as_document, check, in_full, in_short
from cli.clients.faults import listed, unknown_client
from cli.options import find_kafka, kafka_options
from cli.terminal import escape_unwritable
from shared.plurals import counted
from shared.registry.client import Client
from shared.registry.file.clients_file import parse_clients_yaml
from shared.registry.file.yaml_tree import RegistryError
from shared.registry.store.view import load_registry
from shared.runtime.commands import run_command
from shared.runtime.errors import Unavailable
from shared.settings.loader import SettingsError
from shared.submission.rules import MAX_SIZE_BYTES, Submission

_HEADER_NAME: Final = re.compile(r"[!-9;-~]{1,64}")
_MARGIN: Final = 11  # The width of the label, such as "FAIL R12 ", before the text.
_NARROWEST: Final = 40
_CUT_CHARS: Final = 140  # Longer header lines are cut if the terminal's width is not known.
_STYLES: Final = {"pass": "green", "fail": "bold red", "note": "yellow", "detail": ""}

_HELP: Final = """Judge messages by the rules R1 to R12, as the pipeline would.

PATHS are messages, folders (every .eml file in them), mboxes, or - for standard input. A file
whose name ends in .eml is one message. Any other file is an mbox if its name ends in .mbox or if it
begins with "From "; otherwise it is one message.

\b
Exit codes:
  0  all messages are accepted
  1  at least one message is refused
  2  wrong usage
  3  Kafka is unavailable
"""


class WrongChoice(Exception):
    """An option cannot be used, for example because its client is not known.

    The text of the error is one line.
    """


class _Asked(Struct, frozen=True):
    """The options with which the messages are compared; an option that is not set is None."""

    client: str
    clients_file: str
    sender: str | None
    recipient: str | None
    code_header: str
    max_size_bytes: int
    bootstrap: str
    line: str


@click.command(help=_HELP)
@click.argument("paths", nargs=-1, required=True)
@click.option("--client", default="", metavar="NAME", help="The client that sends the messages.")
@click.option(
    "--clients",
    "clients_file",
    default="",
    metavar="FILE",
    help="Read the client from this clients.yaml instead of Kafka.",
)
@click.option("--envelope-from", "sender", metavar="ADDRESS", help="The address of MAIL FROM.")
@click.option("--rcpt-to", "recipient", metavar="ADDRESS", help="The address of RCPT TO.")
@click.option(
    "--code-header",
    default="X-bm-mailing",
    show_default=True,
    metavar="NAME",
    help="The header of rule R8.",
)
@click.option(
    "--max-size",
    "max_size_bytes",
    default=MAX_SIZE_BYTES,
    show_default=True,
    type=click.IntRange(min=1),
    metavar="BYTES",
    help="The limit of rule R1.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
@kafka_options
def main(paths: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Judge the messages, print the verdicts, and end with the exit code."""
    escape_unwritable(as_json)
    asked = _Asked(**options)
    try:
        code_header = _header_name(asked.code_header)
        files = find_files(paths)
        submission = _submission(asked, _find_client(asked))
        verdicts = _judged(files, submission, code_header)
        counts = _tell_json(verdicts) if as_json else _tell(verdicts)
    except (FileFault, WrongChoice, SettingsError, RegistryError) as error:
        fail(str(error), Exit.USAGE_ERROR, as_json)
    except Unavailable as error:
        fail(str(error), Exit.PART_UNAVAILABLE, as_json)
    sys.exit(Exit.CHECK_FAILED if counts[False] else Exit.OK)


def choose(clients: Mapping[str, Client], name: str, alone: bool) -> Client:
    """Return the client with this name; if no name is given and `alone` is set, return the only
    client.

    Raises WrongChoice; its text lists the existing clients.
    """
    if name in clients:
        return clients[name]
    if not name and alone and len(clients) == 1:
        return next(iter(clients.values()))
    if not name:
        raise WrongChoice(
            f"add --client, the client that sends the messages; known: {listed(clients)}"
        )
    raise WrongChoice(unknown_client(name, clients))


def _header_name(given: str) -> bytes:
    if not _HEADER_NAME.fullmatch(given):
        raise WrongChoice(f"--code-header {shown(given)}: not the name of a header")
    return given.lower().encode()


def _find_client(asked: _Asked) -> Client:
    if asked.clients_file:
        if asked.bootstrap or asked.line:
            raise WrongChoice("--clients is read instead of Kafka: leave out --kafka and --state")
        registered = {client.name: client for client in _read_clients(asked.clients_file)}
        return choose(registered, asked.client, alone=True)
    if not asked.client:
        raise WrongChoice("add --client, the client that sends the messages")
    registered = load_registry(find_kafka(asked.bootstrap, asked.line))
    return choose(registered, asked.client, alone=False)


def _read_clients(path: str) -> list[Client]:
    try:
        return parse_clients_yaml(Path(path).read_text("utf-8"), shown(path))
    except OSError as error:
        raise FileFault(f"--clients {shown(path)}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise FileFault(f"--clients {shown(path)}: not UTF-8") from None


def _submission(asked: _Asked, client: Client) -> Submission:
    return Submission(
        sending_domain=client.sending_domain,
        sender=_path(asked.sender),
        recipient=_path(asked.recipient),
        codes=client.active_codes,
        max_size_bytes=asked.max_size_bytes,
    )


def _path(given: str | None) -> str:
    """Return an envelope address without brackets; an empty address is the null sender `<>`."""
    if given is None:
        return ""
    address = shown(given.strip())
    if address.startswith("<") and address.endswith(">"):
        address = address[1:-1]
    return address or "<>"


def _judged(files: list[str], submission: Submission, code_header: bytes) -> Iterator[Verdict]:
    for path in files:
        for message in read_messages(path):
            yield check(message, submission, code_header)


def _tell_json(verdicts: Iterable[Verdict]) -> Counter[bool]:
    results = [as_document(verdict) for verdict in verdicts]
    print_json({"results": results})
    return Counter(result["accepted"] for result in results)


def _tell(verdicts: Iterator[Verdict]) -> Counter[bool]:
    """Print every rule for one message; for several messages, print broken rules and totals."""
    console = Console(highlight=False)
    counts: Counter[bool] = Counter()
    first, second = next(verdicts, None), next(verdicts, None)
    if first is not None and second is None:
        _show(console, in_full(first))
        counts[first.accepted] += 1
        return counts
    for verdict in chain(filter(None, (first, second)), verdicts):
        _show(console, in_short(verdict))
        if not verdict.accepted:
            console.print()
        counts[verdict.accepted] += 1
    console.print(
        f"{counted(counts.total(), 'message')}: {counts[True]} accepted, {counts[False]} refused",
        style="bold",
    )
    return counts


def _show(console: Console, rows: Iterable[Row]) -> None:
    """Print the rows; on a terminal, wrap them beside their labels; otherwise print one line per
    row."""
    terminal = console.is_terminal
    width = max(_NARROWEST, console.width - _MARGIN)
    for row in rows:
        style = _STYLES[row.mark]
        text = Text(row.text)
        if row.cut:
            text.truncate(width if terminal else _CUT_CHARS, overflow="ellipsis")
        label = row.label
        for line in text.wrap(console, width) if terminal else [text]:
            line.rstrip()
            console.print(Text.assemble((label.ljust(_MARGIN), style), line), soft_wrap=True)
            label = ""


if __name__ == "__main__":
    run_command(main, "check")
