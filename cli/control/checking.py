"""Refuses an order for a client, lane or provider that does not exist.

An order with a typing error would stop no mail, and nobody would notice.

Owns: the choice of the source in which each name is looked up. Clients are looked up in the
registry. A lane exists if it has a topic in Kafka. The rules of the deliver service define the
providers, and a command of that service lists them. If a source does not answer, the command prints
a warning and accepts the name, because the order may be urgent. Domains and sites cannot be
checked.
"""

from __future__ import annotations

import os
from typing import Final

import click
import msgspec
from kafka.errors import KafkaError
from msgspec import Struct

from cli.answer import say
from cli.clients.faults import unknown, unknown_client
from cli.config.command import ServiceConfigError, ask_module
from shared.registry.client import Client
from shared.registry.store.view import load_known
from shared.runtime.errors import PartUnavailable
from shared.settings.sections import KafkaSettings
from shared.stream.backlog import topic_names
from shared.stream.client import client_options
from shared.topics.control import Scope
from shared.topics.names import OUTBOUND_PREFIX

PROVIDERS_COMMAND: Final = ("services.deliver.cli.shaping", "providers", "--json")


class Providers(Struct, frozen=True):
    """The JSON output of `sluice shaping providers`.

    `origin` is the source of the rules that define the providers.
    """

    providers: list[str]
    origin: str


def check_scope(kafka: KafkaSettings, scope: Scope, bootstrap: str, line: str) -> None:
    """Refuse a scope to which no message can belong. Raises click.UsageError, Unavailable.

    `bootstrap` and `line` are the options that selected this Kafka.
    """
    if scope.client:
        check_client(load_known(kafka), scope.client, scope.mailing, scope.sub_client)
    if scope.lane:
        _check_lane(scope.lane, _lanes(kafka))
    if scope.provider:
        _check_provider(scope.provider, bootstrap, line)


def check_client(
    clients: dict[str, Client], name: str, mailing: str = "", sub_client: str = ""
) -> None:
    """Refuse an unknown client, mailing ID or sub-client; removed clients count as known."""
    found = clients.get(name)
    if found is None:
        raise click.UsageError(unknown_client(name, clients))
    rows = [found.code(""), *found.codes.values()]
    if mailing and mailing not in {row.mailing_id for row in rows}:
        raise click.UsageError(f"--mailing: {name} has no mailing ID {mailing!r}")
    if sub_client and sub_client not in {row.sub_client for row in rows}:
        raise click.UsageError(f"--sub-client: {name} has no sub-client {sub_client!r}")


def _check_lane(name: str, known: list[str]) -> None:
    if not known:
        say("the lane was not checked: this login sees no topic of a lane in Kafka")
    elif name not in known:
        raise click.UsageError(f"--lane: {unknown('lane', name, known)}")


def _lanes(kafka: KafkaSettings) -> list[str]:
    """Return the lanes that have a topic; a lane's topic is created before the lane is used."""
    try:
        topics = topic_names(client_options(kafka, f"lanes-{os.getpid()}"))
    except KafkaError as error:
        raise PartUnavailable("Kafka", kafka.bootstrap, str(error)) from error
    return [
        name.removeprefix(OUTBOUND_PREFIX) for name in topics if name.startswith(OUTBOUND_PREFIX)
    ]


def _check_provider(name: str, bootstrap: str, line: str) -> None:
    options = [("--kafka", bootstrap), ("--state", line)]
    given = [word for option in options if option[1] for word in option]
    try:
        found = msgspec.json.decode(ask_module(*PROVIDERS_COMMAND, *given), type=Providers)
    except ServiceConfigError as error:
        say(f"the provider was not checked: {'; '.join(error.lines)}")
        return
    if name not in found.providers:
        sentence = unknown("provider", name, found.providers)
        raise click.UsageError(f"--provider: {sentence}; the providers are those of {found.origin}")
