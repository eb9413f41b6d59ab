"""Every table that a command prints, with long values, in terminals of 80 and 100 columns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import msgspec
import pytest

from bench import e2e_result, front_door_result, postfix
from bench.measured import Figure
from bench.micro import rules
from cli.audit.shown import table_lines
from cli.clients.command import list_lines
from cli.topics import command as topics
from local.demo.display import MEANINGS, Progress, bill_lines, progress_lines, reason_lines
from local.demo.observing import Counts
from local.demo.reconciliation import SinkCount, Witness, reconcile
from services.billing.cli.counts import usage_lines
from services.billing.core.answer import KEYS, Usage
from services.billing.core.answer import Row as UsageRow
from services.billing.core.cells import COUNTERS
from shared.audit.report import BookRow, Report
from shared.registry.client import Client, Code

CLIENTS = ("a-client-with-thirty-letters-1", "a-client-with-thirty-letters-2")
MAILING = "2026-autumn-campaign-for-german-shops-01"
SUB_CLIENT = "sub-client-of-26-letters-1"
DOMAIN = "newsletter.a-client-with-thirty-letters.example"
COUNTS = list(range(123_456_781, 123_456_800))


def usage_table(width: int) -> list[str]:
    rows = [
        msgspec.convert(
            dict(zip((*KEYS, *COUNTERS), (client, MAILING, SUB_CLIENT, *COUNTS), strict=False)),
            UsageRow,
        )
        for client in CLIENTS
    ]
    return usage_lines(Usage("2026-10", True, "", {}, rows), "", width)


def audit_table(width: int) -> list[str]:
    rows = [BookRow(client, MAILING, SUB_CLIENT, *COUNTS[:9]) for client in CLIENTS]
    return table_lines(Report(True, False, 1, 1, 1, 1, 1, rows, []), width)


def clients_table(width: int) -> list[str]:
    codes = {str(number): Code("M-1") for number in range(1_234)}
    clients = [Client(name, DOMAIN, "a@b.example", MAILING, codes) for name in CLIENTS]
    return list_lines(clients, width)


def bill_table(width: int) -> list[str]:
    billed = {(name, MAILING, SUB_CLIENT): COUNTS[0] for name in CLIENTS}
    seen = Witness(Counter(billed), SinkCount(COUNTS[1], 0), 0)
    return bill_lines(reconcile(COUNTS[0], {}, 0, billed, seen), width)


def reasons_table(width: int) -> list[str]:
    finals = dict.fromkeys(("bounced", "refused", "suppressed"), 123_456)
    seen = Witness(Counter(), SinkCount(0, 0), 0)
    return reason_lines(reconcile(0, finals, 0, {}, seen), width)


def progress_table(width: int) -> list[str]:
    counts = Counts(dict(zip((*MEANINGS, "deferred"), COUNTS, strict=False)), 0, 0, 0)
    return progress_lines(Progress(COUNTS[10], COUNTS[11], counts), 12.0, width)


def door_table(width: int) -> list[str]:
    row = front_door_result.Row(
        front_door_result.DOORS, "smtp-source", 123456.0, [], {"ingest": 1234.0}, 999.0, 12.5, 999.9
    )
    return front_door_result.table_lines([row], width)


def rules_table(width: int) -> list[str]:
    figure = Figure(12_345.67, 23_456.78)
    result = rules.Result(
        10_000, 2_000, 15, figure, figure, figure, figure, figure, figure, 42_632, True
    )
    return rules.described(result, width).splitlines()


def topics_table(width: int) -> list[str]:
    differences = [
        topics.Row("message.timestamp.type", "CreateTime", "LogAppendTime", deletes=False),
        topics.Row("retention.ms", "8553600000", "604800000", deletes=True),
        topics.Row("cleanup.policy", "", "compact", deletes=False),
    ]
    refused = "the brokers deny AlterConfigs, and whatever else they have to say about this topic"
    answers = [
        topics.Answer("mail.received", "ok"),
        topics.Answer("mail.submissions", "missing"),
        *(
            topics.Answer(f"mail.intake.{name}", "refused", differences, refused)
            for name in CLIENTS
        ),
    ]
    return topics.table_lines(answers, width)


def e2e_table(width: int) -> list[str]:
    names = ("ingest", "validate", "deliver", "billing", "kafka", "redis", "sink", "publisher")
    runs = [postfix.PeerRun(queue, 10_000, 8.1, 1_234.4) for queue in ("disk", "ram")]
    result = e2e_result.Result(
        messages=1_000_000,
        size_bytes=307_200,
        dkim=True,
        seconds=1_234.56,
        messages_per_s=2_468.8,
        cpu_us_per_message=dict.fromkeys(names, 1_234.5),
        cpu_us_total=9_876.0,
        latency_ms=e2e_result.Latency(12_345.6, 23_456.7),
        latency_at_per_s=1_234.4,
        rss_mb=dict.fromkeys(names, 2_345.6),
        peer=e2e_result.Peer("Postfix 3.7.11", 1_234.4, runs),
        ratio=2.0,
    )
    return e2e_result.described(result, width).splitlines()


TABLES: dict[Callable[[int], list[str]], list[str]] = {
    usage_table: [*CLIENTS, MAILING, SUB_CLIENT, *map(str, COUNTS[: len(COUNTERS)])],
    audit_table: [*CLIENTS, MAILING, SUB_CLIENT, *map(str, COUNTS[:8])],
    clients_table: [*CLIENTS, MAILING, DOMAIN, "1234"],
    reasons_table: ["suppressed", "complained", "123456"],
    bill_table: [*CLIENTS, MAILING, SUB_CLIENT, str(COUNTS[0]), str(2 * COUNTS[0])],
    progress_table: [str(COUNTS[10]), str(COUNTS[11]), *map(str, COUNTS[:6])],
    topics_table: [
        *(f"mail.intake.{name}" for name in CLIENTS),
        *("mail.submissions", "missing", "message.timestamp.type", "LogAppendTime"),
        *("8553600000", "604800000", "(none)"),
    ],
    e2e_table: [
        *("1,000,000", "307,200", "1234.56", "2,469", "12345.6", "23456.7", "9,876"),
        *("publisher", "Postfix 3.7.11, queue on disk", "in RAM", "1,234", "2.00"),
    ],
    door_table: [front_door_result.DOORS, "smtp-source", "123456", "12.5", "999.9", "1234"],
    rules_table: ["12345.67", "23456.78", "scan and judge", "mailparse, headers only"],
}


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_a_table_fits_and_has_every_number_and_identifier_whole(
    table: Callable[[int], list[str]], width: int
) -> None:
    lines = table(width)
    assert max(map(len, lines)) <= width, "\n".join(lines)
    text = "\n".join(lines)
    cut = [
        value
        for value in TABLES[table]
        if not re.search(rf"(?<![\w.-]){re.escape(value)}(?![\w-])", text)
    ]
    assert cut == []
    assert "\N{HORIZONTAL ELLIPSIS}" not in text


def test_the_rows_of_the_books_are_those_that_are_rendered() -> None:
    assert len(msgspec.structs.fields(BookRow)) == 3 + 9


def test_topics_that_are_as_planned_need_no_table() -> None:
    assert topics.table_lines([topics.Answer("mail.received", "ok")], 80) == []


def test_a_config_whose_change_deletes_records_is_marked() -> None:
    row = topics.Row("retention.ms", "8553600000", "604800000", deletes=True)
    lines = topics.table_lines([topics.Answer("mail.refused", "differs", [row])], 100)
    assert [line.split(maxsplit=5) for line in lines] == [
        ["topic", "status", "config", "found", "planned", "note"],
        ["mail.refused", "differs", "retention.ms", "8553600000", "604800000", "deletes records"],
    ]
