"""`sluice topics`: compares the topics on the brokers with the plan, or applies the plan.

Owns: the commands. Does not own: the plan (shared/topics/names.py), comparing and altering
(shared/stream/topic_configs.py).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import click
from kafka.errors import KafkaError
from msgspec import Struct, structs

from cli.answer import Exit, fail, print_json
from cli.clients.given import known_lanes
from cli.config.command import ServiceConfigError
from cli.options import find_kafka, kafka_options
from cli.stack import state
from cli.terminal import Column, Kind, lay_out, terminal_width
from shared.plurals import counted
from shared.registry.store.view import load_registry
from shared.runtime.commands import HelpGroup, run_command
from shared.runtime.errors import Unavailable
from shared.settings.loader import SettingsError
from shared.settings.sections import KafkaSettings
from shared.stream.admin import ADMIN_TIMEOUT_MS, TopicError, ensure_topics
from shared.stream.client import BOOTSTRAP_MS, client_options, make_admin
from shared.stream.topic_configs import TopicReport, Wanted, alter, compare, grow, plan_growth
from shared.topics import names
from shared.topics.names import TopicPlan

_KAFKAS_OWN: Final = frozenset({"__consumer_offsets", "__transaction_state"})
# The status of internal topics of Kafka that have too few copies. `apply` does not change these
# topics, so they do not count as a difference.
_BROKERS: Final = "brokers"
_BROKERS_NOTE: Final = "a topic of Kafka itself; add copies with kafka-reassign-partitions.sh"
_RIGHT: Final = frozenset({"ok", "created", "altered", _BROKERS})
_HELP: Final = """Compare the topics' configuration on the brokers with the plan, or apply the plan.

Every topic of the pipeline on the brokers is compared, including the topics of clients. `plan` also
shows topics of Kafka itself that have too few copies (status `brokers`); `apply` does not change
these topics, so they do not count as a difference. The plan has a topic for each lane in the
setting `validate.lanes`. `apply` also shortens retentions, which deletes records: `plan` marks
these topics. `apply` begins to add copies to topics that have fewer copies than
`kafka.replication`, and removes no copies. The setting `kafka.topic_configs` replaces planned
values.

\b
Exit codes:
  0  all topics are as planned
  1  a topic differs (after `apply`: a topic could not be altered)
  2  wrong usage
  3  Kafka is unavailable
"""
_COLUMNS: Final = (
    Column("topic"),
    Column("status"),
    Column("config"),
    Column("found", Kind.TEXT),
    Column("planned", Kind.TEXT),
    Column("note", Kind.TEXT),
)
F = TypeVar("F", bound=Callable[..., Any])


class Row(Struct, frozen=True):
    """One config of a topic that differs from the plan.

    If `deletes` is set, altering the config makes Kafka delete records sooner.
    """

    config: str
    found: str
    wanted: str
    deletes: bool


class Answer(Struct, frozen=True):
    """One topic. `status` is ok, differs, missing, unreadable, or brokers.

    The status `brokers` marks an internal topic of Kafka that has too few copies. After `apply`,
    the status can also be created, altered or refused.
    """

    topic: str
    status: str
    differences: list[Row] = []
    reason: str = ""


class Document(Struct, frozen=True):
    """The document that --json prints."""

    kafka: str
    as_planned: bool
    topics: list[Answer]


@click.group("topics", help=_HELP, cls=HelpGroup)
def main() -> None:
    """Group the commands."""


def _options(command: F) -> F:
    json_option = click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON document on stdout."
    )
    return json_option(kafka_options(command))


@main.command()
@_options
def plan(bootstrap: str, line: str, as_json: bool) -> None:
    """Show how the topics differ from the plan."""
    with _reporting(as_json):
        kafka = find_kafka(bootstrap, line)
        planned = _planned(kafka, line)
        with _admin(kafka) as admin:
            reports, own = _compare(admin, kafka, planned), _compare_kafkas_own(admin, kafka)
        rows = [_row(report, kafka) for report in reports]
        _answer(kafka, [*rows, *(own_row(report, kafka) for report in own)], as_json)


@main.command()
@_options
def apply(bootstrap: str, line: str, as_json: bool) -> None:
    """Create missing topics and alter those that differ."""
    with _reporting(as_json):
        kafka = find_kafka(bootstrap, line)
        planned = _planned(kafka, line)
        created = ensure_topics(kafka, planned, aligned=False)
        with _admin(kafka) as admin:
            reports = _compare(admin, kafka, planned)
            results = alter(admin, [each for one in reports for each in one.differences])
            short = [one.topic for one in reports if one.is_short(kafka.replication)]
            reason = _add_replicas(admin, short, kafka.replication)
            results |= {topic: results.get(topic) or reason for topic in short}
        rows = [_row(report, kafka, results.get(report.topic)) for report in reports]
        rows = [
            Answer(row.topic, "created") if row.topic in created and row.status == "ok" else row
            for row in rows
        ]
        _answer(kafka, rows, as_json)


@contextmanager
def _reporting(as_json: bool) -> Iterator[None]:
    try:
        yield
    except SettingsError as error:
        fail("; ".join(map(str, error.faults)), Exit.USAGE_ERROR, as_json)
    except ServiceConfigError as error:
        is_late = error.exit_code == Exit.PART_UNAVAILABLE
        code = Exit.PART_UNAVAILABLE if is_late else Exit.USAGE_ERROR
        fail("; ".join(error.lines), code, as_json)
    except (Unavailable, KafkaError, TopicError) as error:
        fail(str(error), Exit.PART_UNAVAILABLE, as_json)


@contextmanager
def _admin(kafka: KafkaSettings) -> Iterator[Any]:
    options = client_options(kafka, "topics")
    admin = make_admin(options, ADMIN_TIMEOUT_MS, bootstrap_timeout_ms=BOOTSTRAP_MS)
    try:
        yield admin
    finally:
        admin.close()


def _planned(kafka: KafkaSettings, line: str) -> list[TopicPlan]:
    """Return the plan: the topics of the pipeline, of each lane and of each registered client.

    If a pipeline with this Kafka runs on this machine, the lanes come from the settings of that
    pipeline. Otherwise the lanes come from the settings of this command. Raises ServiceConfigError.
    """
    name = line or state.MAIN
    running = state.running(name)
    is_its_own = running is not None and (
        running.endpoints is not None and running.endpoints.kafka == kafka.bootstrap
    )
    lanes = known_lanes(state.environment_of(name)["validate"] if is_its_own else None)
    return [*names.plans(tuple(sorted(lanes)), kafka.partitions), *_of_clients(kafka)]


def _compare(admin: Any, kafka: KafkaSettings, planned: list[TopicPlan]) -> list[TopicReport]:
    """Compare every topic in the plan, and the pipeline's other topics on the brokers."""
    wanted = {plan.name: plan.configs for plan in planned}
    for topic in admin.list_topics():
        configs = names.configs_of(topic)
        if configs is not None:
            wanted[topic] = configs
    return compare(admin, wanted, Wanted.of(kafka))


def _compare_kafkas_own(admin: Any, kafka: KafkaSettings) -> list[TopicReport]:
    """Report Kafka's internal topics with fewer copies than the pipeline's topics should have.

    If such a topic is lost, committed offsets and open transactions are lost with it. The brokers
    own these topics, so `apply` does not change them. ACLs may hide such topics; hidden topics are
    not reported.
    """
    there = [name for name in admin.list_topics() if name in _KAFKAS_OWN]
    reports = compare(admin, {name: {} for name in there}, Wanted.of(kafka))
    return [report for report in reports if report.is_short(kafka.replication)]


def _of_clients(kafka: KafkaSettings) -> list[TopicPlan]:
    """Return the topics of the registered clients: their intake topics and their events topics."""
    plans = []
    for client in load_registry(kafka).values():
        plans.append(names.intake_plan(client.name, kafka.intake_partitions))
        if client.own_events:
            plans.append(names.client_events_plan(client.name, kafka.intake_partitions))
    return plans


def _add_replicas(admin: Any, topics: list[str], wanted: int) -> str:
    """Begin to add replicas; return "", or the reason if that is not possible."""
    try:
        growth = plan_growth(admin, topics, wanted)
        if growth.lacking:
            return f"{wanted} copies need {counted(growth.lacking, 'more broker')}"
        grow(admin, growth.assignments)
    except KafkaError as error:
        return (
            f"copies were not added: {error} (this needs the ACL Alter on the cluster; an"
            " administrator may use kafka-reassign-partitions.sh)"
        )
    return ""


def _row(report: TopicReport, kafka: KafkaSettings, refused: str | None = None) -> Answer:
    """Return a topic's answer; `refused` is the result of alter(), or None if it was not called."""
    status, reason = str(report.status), report.reason
    if refused is not None:
        status, reason = ("refused", refused) if refused else ("altered", "")
    rows = [Row(each.config, each.found, each.wanted, each.deletes) for each in report.differences]
    if report.is_short(kafka.replication):
        rows.append(Row("replication", str(report.replication), str(kafka.replication), False))
    return Answer(report.topic, status, rows, reason)


def own_row(report: TopicReport, kafka: KafkaSettings) -> Answer:
    """Return the answer for an internal topic of Kafka that has too few copies."""
    return structs.replace(_row(report, kafka), status=_BROKERS, reason=_BROKERS_NOTE)


def wrong(rows: list[Answer]) -> list[Answer]:
    """Return the topics that differ from the plan or could not be altered."""
    return [row for row in rows if row.status not in _RIGHT]


def _answer(kafka: KafkaSettings, rows: list[Answer], as_json: bool) -> None:
    found = wrong(rows)
    if as_json:
        print_json(Document(kafka.bootstrap, not found, rows))
    else:
        for line in table_lines(rows, terminal_width()):
            click.echo(line)
        click.echo(f"{counted(len(rows), 'topic')}, {len(found)} not as planned")
    sys.exit(Exit.CHECK_FAILED if found else Exit.OK)


def table_lines(rows: list[Answer], width: int) -> list[str]:
    """Return a table of the topics that are not ok, with a row per config that differs."""
    shown = [row for row in rows if row.status != "ok"]
    return lay_out(_COLUMNS, [line for row in shown for line in _rows(row)], width) if shown else []


def _rows(row: Answer) -> list[tuple[str, ...]]:
    """Return the rows of one topic; the first row contains the reason."""
    if not row.differences:
        return [(row.topic, row.status, "", "", "", row.reason)]
    rows: list[tuple[str, ...]] = []
    for place, each in enumerate(row.differences):
        notes = ("deletes records" if each.deletes else "", "" if place else row.reason)
        found, note = each.found or "(none)", "; ".join(filter(None, notes))
        rows.append((row.topic, row.status, each.config, found, each.wanted, note))
    return rows


if __name__ == "__main__":
    run_command(main, "topics")
