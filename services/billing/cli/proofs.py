"""The commands `sluice billing verify` and `archive`, which prove statements and archive the events
that proofs need."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from zoneinfo import ZoneInfo

import click
from msgspec import Struct, structs

from cli.answer import Exit, print_json, say
from cli.terminal import visible
from services.billing.cli.opening import (
    Connections,
    answering,
    as_json_option,
    connect_to,
    line_option,
    progress,
    require_month,
)
from services.billing.core.closing.chain import Chain
from services.billing.core.closing.statement import encode_public
from services.billing.core.month import Months
from services.billing.edge import signing_key as keys
from services.billing.edge.archive import Archive, Gap
from services.billing.edge.archive_files import only_writer
from services.billing.edge.archive_writing import ArchiveWriter
from services.billing.edge.recounting import unreadable_line
from services.billing.edge.statements.topic import StatementTopic
from services.billing.edge.verifying import Events, KafkaEvents, Proof, verify
from shared.audit.event_log import EventLog
from shared.plurals import counted


class Archived(Struct, frozen=True):
    """The result of the command `archive`.

    `gaps` are the offsets that no file contains and whose records Kafka has deleted. `filled` are
    the offsets that the archive had lost and that were read again. `damaged` are the files whose
    bytes have changed since they were written. `damaged` is always empty without the option
    --check, because only --check compares the bytes.
    """

    records: int
    offsets: dict[int, int]
    statements: list[str]
    gaps: list[Gap]
    filled: list[Gap] = []
    damaged: list[str] = []


@click.command("verify")
@click.argument("month")
@click.option(
    "--archive",
    "folder",
    type=click.Path(path_type=Path),
    help="Verify the statement with this archive alone, without Kafka.",
)
@click.option(
    "--public-key",
    "public",
    default="",
    help="PEM file of the key that must have signed the statement.",
)
@as_json_option
@line_option
@answering
def verify_statement(
    month: str, folder: Path | None, public: str, as_json: bool, line: str
) -> None:
    """Verify the hash, signature and counts of a statement; exit code 1 if one of them is wrong.

    The counts are compared with the events. Without --public-key, the key of
    billing.signing_key_file must have signed the statement, if this setting has a value.
    """
    require_month(month)
    parts = connect_to(line) if folder is None or not public else None
    trusted = [keys.load_public(public)] if public else _own_key(parts)
    with ExitStack() as closing:
        chain, events = _sources(parts, folder, closing)
        statement = chain.closed.get(month)
        total = sum(statement.statement.offsets.values()) if statement else 0
        advance = closing.enter_context(progress("verify", total))
        proof = verify(month, chain, events, _zone_months, trusted, advance)
    if as_json:
        print_json(proof)
    else:
        click.echo("\n".join(_proof_lines(proof)))
    sys.exit(Exit.OK if proof.proved else Exit.CHECK_FAILED)


def _sources(
    parts: Connections | None, folder: Path | None, closing: ExitStack
) -> tuple[Chain, Events]:
    if folder is not None:
        archive_ = Archive(folder)
        return archive_.chain(), archive_
    assert parts is not None
    topic = StatementTopic(parts.options)
    closing.callback(topic.close)
    topic.read()
    return topic.chain, KafkaEvents(closing.enter_context(EventLog(parts.options, is_strict=True)))


def _own_key(parts: Connections | None) -> list[str]:
    key = keys.load(parts.settings.signing_key_file) if parts is not None else None
    return [encode_public(key.public_key())] if key is not None else []


def _zone_months(name: str) -> Months:
    return Months(ZoneInfo(name))


def _proof_lines(proof: Proof) -> list[str]:
    lines = [
        f"{each.month}-{each.day} {each.client}/{each.mailing_id}/{each.sub_client}"
        f" {each.counter} {each.detail}: stated {each.stated}, counted {each.counted}"
        for each in proof.differences
    ]
    lines += [f"fault: {fault}" for fault in proof.faults]
    # The names come from events, so they may contain unprintable characters.
    lines = [visible(each) for each in lines]
    if said := unreadable_line(proof.unreadable, proof.unreadable_at):
        lines.append(said)
    verdict = "proved" if proof.proved else "NOT proved"
    records = counted(proof.records, "record")
    lines.append(f"the statement of {proof.month} is {verdict} ({records} read)")
    return [
        *lines,
        "it is signed" if proof.signed else "it is not signed: only its hash was checked",
    ]


@click.command("archive")
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path),
    required=True,
    help="The folder of the archive; events in it are not read again.",
)
@click.option("--check", is_flag=True, help="Also compare the SHA-256 of all files.")
@as_json_option
@line_option
@answering
def archive(folder: Path, check: bool, as_json: bool, line: str) -> None:
    """Add new events (as Parquet files) and statements to an archive.

    Events that the archive has lost are read again. The exit code is 1 if Kafka has deleted events
    that the archive does not have, or if a file is damaged.
    """
    parts = connect_to(line)
    with ExitStack() as closing:
        log = closing.enter_context(EventLog(parts.options, is_strict=True))
        topic = StatementTopic(parts.options)
        closing.callback(topic.close)
        topic.read()
        closing.enter_context(only_writer(folder))
        damaged = Archive(folder).damaged() if check else []
        for each in damaged:
            say(each)
        writer = ArchiveWriter(folder, log.id(), parts.months, log.begins)
        # Report the gaps even if Kafka fails in a later step, because most gaps are reported only
        # once.
        closing.callback(_say_gaps, writer)
        found = structs.replace(_add_all(writer, log, topic.chain), damaged=damaged)
    if as_json:
        print_json(found)
    else:
        months = counted(len(found.statements), "statement")
        click.echo(f"{counted(found.records, 'record')} added, {months} in the archive")
    sys.exit(Exit.CHECK_FAILED if found.gaps or found.damaged else Exit.OK)


def _say_gaps(writer: ArchiveWriter) -> None:
    for gap in writer.filled:
        say(
            f"partition {gap.partition}: offsets {gap.begin} to {gap.end} were lost, and read again"
        )
    for gap in writer.gaps:
        where = f"partition {gap.partition}: offsets {gap.begin} to {gap.end}"
        say(f"{where} are missing, and Kafka has deleted them")


def _add_all(writer: ArchiveWriter, log: EventLog, chain: Chain) -> Archived:
    ends = log.committed_ends()
    records = 0
    try:
        for gap in writer.lost():
            writer.fill(gap, log.read({gap.partition: gap.end}, {gap.partition: gap.begin}))
        starts = writer.starts()
        total = sum(max(0, end - starts.get(part, 0)) for part, end in ends.items())
        with progress("archive", total) as advance:
            for partition, run in log.read(ends, starts):
                writer.add(partition, run)
                records += len(run)
                advance(len(run))
        writer.finish(ends)
    finally:
        writer.abandon()
    for month in sorted(chain.closed):
        writer.add_statement(chain.closed[month])
    return Archived(records, ends, sorted(chain.closed), writer.gaps, writer.filled)
