"""`sluice trace`: shows SMTP dialogs of the deliver service as they happen.

The command writes a trace to mail.control. Every deliver process applies the trace within 2 s. The
command then reads the lines that these processes write to Redis. The command ends after the time of
--for (at most 10 minutes) or on Ctrl-C, and then deletes the trace and its lines. If the command is
killed, or Kafka is unavailable when the command ends, the trace ends at its expiry time, and Redis
deletes the lines 15 minutes later.

Owns: the command, and the records that begin and end a trace; writing them raises Unavailable if
Kafka does not answer. Does not own: the content of the lines (services/deliver/core/tracing). If
Redis becomes unavailable during the trace, the command reports that and continues; lost lines are
counted. Exit codes: 0 the trace has ended, 2 wrong usage, 3 Kafka is unavailable, or Redis is
unavailable at the start.
"""

from __future__ import annotations

import contextlib
import secrets
import sys
import time
from functools import partial
from typing import Any, Final

import click
import msgspec

from cli.answer import Exit, StopAskedError, interruptible, say
from cli.clients.faults import answering
from cli.control.options import author_of, authored
from cli.control.topic import read_last, write_records
from cli.options import duration_s, find_kafka, kafka_options, require_domain
from cli.suppressions.topic import find_redis
from cli.trace.output import Missing, Printer, printable
from shared.runtime.clock import Deadline, now_ms
from shared.runtime.commands import run_command
from shared.runtime.errors import Unavailable
from shared.settings.sections import KafkaSettings
from shared.store.client import StoreUnavailable, connect
from shared.store.traces import TraceReader
from shared.topics import ids
from shared.topics.control import MAX_TEXT_CHARS
from shared.topics.traces import (
    MAX_TRACE_MS,
    MAX_TRACES,
    Trace,
    TraceLine,
    decode_trace,
    encode_trace,
    key_of,
)

# One read from Redis waits this long for lines; this time is less than the time-out of a Redis
# command.
WAIT_S: Final = 0.5
# The command reads for this long after the trace has ended, because each process writes its last
# lines within FLUSH_S.
LAST_S: Final = 1.0


@click.command()
@click.option("--domain", default="", help="Show dialogs of mail to recipients of this domain.")
@click.option("--mail-id", default="", help="Show dialogs of this message.")
@click.option(
    "--for",
    "how_long",
    default="10m",
    metavar="TIME",
    help="How long to trace, such as 60s; at most 10m.  [default: 10m]",
)
@partial(authored, why="The reason; other operators see it while the trace runs.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document per line on stdout.")
@kafka_options
@answering
def main(domain: str, mail_id: str, how_long: str, as_json: bool, **rest: Any) -> None:
    """Show SMTP dialogs as they happen.

    Credentials are hidden, and content is shown as its size. `>` marks a line that
    the deliver service sends, `<` a reply of the server, `*` a remark of the deliver service.
    """
    now = now_ms()
    trace = Trace(
        secrets.token_hex(8),
        _domain(domain, mail_id),
        _mail_id(mail_id),
        author_of(rest["author"]),
        rest["reason"][:MAX_TEXT_CHARS],
        now,
        now + _lasts_ms(how_long),
    )
    kafka = find_kafka(rest["bootstrap"], rest["line"])
    reader = TraceReader(connect(find_redis(rest["line"])), trace.trace_id)
    reader.delete()  # If Redis is unavailable, this call fails before the trace begins.
    try:
        with interruptible():
            begin(kafka, trace)
            _follow(reader, trace, _Output(as_json))
    except StopAskedError:
        pass
    except BrokenPipeError:
        sys.stderr.close()
    finally:
        with contextlib.suppress(Unavailable):
            end(kafka, trace)
        with contextlib.suppress(Unavailable):
            reader.delete()
    sys.exit(Exit.OK)


class _Output:
    """Prints lines, and reports missing lines on standard error."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._missing = Missing()
        self._printer = Printer()

    def show(self, line: TraceLine) -> None:
        for said in self._missing.new(line):
            say(printable(said))
        if not line.kind:
            return
        if not line.dialog:
            say(printable(f"{line.worker}: {line.text}"))
        elif self._as_json:
            print(msgspec.json.encode(line).decode(), flush=True)
        else:
            for text in self._printer.lines(line):
                print(text, flush=True)


def _follow(reader: TraceReader, trace: Trace, output: _Output) -> None:
    concerns = trace.domain or trace.mail_id
    say(f"tracing {concerns} for {(trace.expires_at_ms - trace.at_ms) // 1_000} s; Ctrl-C ends it")
    deadline = Deadline((trace.expires_at_ms - now_ms()) / 1_000 + LAST_S)
    fault, unreadable = "", 0
    while not deadline.is_over():
        try:
            lines, found = reader.read(deadline.at_most(WAIT_S)), ""
        except StoreUnavailable as error:
            lines, found = [], str(error)
            time.sleep(deadline.at_most(WAIT_S))
        if found and found != fault:
            say(f"{found}; trying again")
        fault = found
        for line in lines:
            output.show(line)
        if reader.unreadable > unreadable:
            unreadable = reader.unreadable
            say("the stream has records that are not lines of a dialog; the records are omitted")


def _domain(domain: str, mail_id: str) -> str:
    if bool(domain) == bool(mail_id):
        raise click.UsageError("choose the dialogs to show: give either --domain or --mail-id")
    return require_domain(domain) if domain else ""


def _mail_id(text: str) -> str:
    if text:
        try:
            ids.to_bytes(text)
        except ValueError as error:
            raise click.UsageError(f"--mail-id: {error}") from None
    return text


def _lasts_ms(text: str) -> int:
    seconds = duration_s(text)
    if seconds is None:
        raise click.UsageError(f"--for: {text!r} is not a duration such as 60s or 5m")
    if seconds * 1_000 > MAX_TRACE_MS:
        raise click.UsageError(
            f"--for: {text} is longer than 10m; start another trace when this one has ended"
        )
    return seconds * 1_000


def begin(kafka: KafkaSettings, trace: Trace) -> None:
    """Write the trace, and delete expired traces. Raises click.UsageError, Unavailable."""
    known = read_last(kafka, decode_trace)
    alive = [each for each in known if trace.at_ms < each.expires_at_ms]
    if len(alive) >= MAX_TRACES:
        authors = ", ".join(sorted({each.author for each in alive}))
        raise click.UsageError(
            f"{MAX_TRACES} traces are running already (by {authors}); end one, or wait for at most"
            " 10 minutes"
        )
    over = [each for each in known if each not in alive]
    write_records(kafka, [encode_trace(trace), *((key_of(each), None) for each in over)])


def end(kafka: KafkaSettings, trace: Trace) -> None:
    """End a trace before its expiry."""
    write_records(kafka, [(key_of(trace), None)])


if __name__ == "__main__":
    run_command(main, "trace")
