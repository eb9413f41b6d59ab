"""Reads mail.reputation and the operators' orders for commands of the CLI.

Owns: reading both topics once. Does not own: the output (sources.py, shaping.py). Guarantees: if
Kafka is unavailable, a command still answers and lists the values that are not known.
"""

from __future__ import annotations

import os
from contextlib import closing
from typing import Final

from kafka.errors import KafkaError
from msgspec import Struct

from cli.control.topic import read_orders
from cli.options import find_kafka
from services.deliver.core.reputation.ratios import shares, thresholds_of
from services.deliver.core.reputation.warmup import limit_of_state
from services.deliver.core.shaping.rules import Rules
from services.deliver.core.shaping.warming import place_of
from services.deliver.edge.reputation.view import States
from shared.runtime.errors import PartUnavailable, Unavailable
from shared.settings.sections import KafkaSettings
from shared.stream.client import client_options
from shared.stream.log_reader import LogReader
from shared.topics.control import Order
from shared.topics.names import REPUTATION
from shared.topics.reputation import PARTITION, ClientState, State, WarmupState

READ_S: Final = 30.0
WARM: Final = "warm"


class SourceRow(Struct, frozen=True):
    """The warm-up step of a source at a provider. `limit` is "warm" after the last step."""

    source: str
    provider: str
    step: int
    limit: str
    since_ms: int
    delivered: int
    failed: int


class ShareRow(Struct, frozen=True):
    """A share of a client at a provider, with its threshold and the origin of the threshold."""

    kind: str
    part: int
    whole: int
    threshold: str
    origin: str


class Known(Struct, frozen=True):
    """The states and orders in Kafka.

    `fault` is the reason why they are not known, or "" if they are known.
    """

    states: tuple[State, ...] = ()
    orders: tuple[Order, ...] = ()
    fault: str = ""


def read_known(bootstrap: str, line: str) -> Known:
    """Read mail.reputation and the orders. If Kafka fails, return the fault and raise nothing."""
    try:
        kafka = find_kafka(bootstrap, line)
        return Known(tuple(_read_states(kafka)), tuple(read_orders(kafka)))
    except Unavailable as error:
        return Known(fault=str(error))


def _read_states(kafka: KafkaSettings) -> list[State]:
    options = client_options(kafka, f"reputation-{os.getpid()}")
    found = States()
    try:
        with closing(LogReader(options, REPUTATION)) as reader:
            if PARTITION in reader.partitions():
                for record in reader.read_whole(PARTITION, READ_S):
                    found.add(record)
    except KafkaError as error:
        raise PartUnavailable("Kafka", kafka.bootstrap, str(error)) from error
    return found.all()


def source_rows(known: Known, rules: Rules) -> list[SourceRow]:
    """Return a row for each source and each provider to which the source has sent mail."""
    rows = []
    for state in known.states:
        if isinstance(state, WarmupState):
            limit = limit_of_state(state, rules)
            text = WARM if limit is None else str(limit.limit)
            rows.append(
                SourceRow(
                    state.source,
                    state.provider,
                    state.step + 1,
                    text,
                    state.since_ms,
                    state.delivered,
                    state.failed,
                )
            )
    return sorted(rows, key=lambda row: (row.source, row.provider))


def step_of(known: Known, source: str, provider: str) -> int:
    """Return the step of a source at a provider, or 0 if the source has sent no mail to it yet."""
    pair = source, place_of(provider)
    steps = (each for each in known.states if isinstance(each, WarmupState))
    return next((each.step for each in steps if (each.source, each.provider) == pair), 0)


def share_rows(
    known: Known, rules: Rules, client: str, provider: str, now_ms: int
) -> list[ShareRow]:
    """Return the present shares of a client at a provider."""
    if not client or not provider:
        return []
    clients = (each for each in known.states if isinstance(each, ClientState))
    state = next(
        (each for each in clients if (each.client, each.provider) == (client, provider)),
        ClientState(client, provider),
    )
    held = thresholds_of(rules, client, state.mail_class, provider)
    return [
        ShareRow(each.kind.value, each.part, each.whole, str(each.ratio), held.origins[each.kind])
        for each in shares(state, held, now_ms)
    ]
