"""Finds the Kafka that a command connects to.

The first of: --kafka, the pipeline named by --state, the setting kafka.bootstrap (environment or
TOML file), the running pipeline `main`, the default of the setting if anything answers there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click
from msgspec import Struct, structs

from cli.stack import state
from cli.stack.endpoints import Endpoints
from shared.runtime.tcp import answers
from shared.settings.loader import DEFAULT_ORIGIN, Fault, SettingsError, load, variable_of
from shared.settings.sections import KafkaSettings

_VARIABLE: Final = variable_of("kafka", "bootstrap")
F = TypeVar("F", bound=Callable[..., Any])


class KafkaOnly(Struct, frozen=True):
    """The only section of the settings that these commands read."""

    kafka: KafkaSettings = KafkaSettings()


def kafka_options(command: F) -> F:
    """Add --kafka and --state to a click command."""
    command = click.option("--state", "line", default="", help="Name of a running pipeline.")(
        command
    )
    return click.option("--kafka", "bootstrap", default="", metavar="HOST:PORT", help="Brokers.")(
        command
    )


def find_kafka(bootstrap: str, line: str) -> KafkaSettings:
    """The settings of the Kafka to talk to. Raises NotRunning, SettingsError."""
    if bootstrap:
        # Through the loader, so that it is judged as the setting is.
        try:
            return load(KafkaOnly, {**os.environ, _VARIABLE: bootstrap}).settings.kafka
        except SettingsError as error:
            raise SettingsError(map(_named_as_option, error.faults)) from None
    loaded = load(KafkaOnly)
    kafka = loaded.settings.kafka
    is_configured = loaded.origins["kafka.bootstrap"] != DEFAULT_ORIGIN
    endpoints = find_endpoints(line, kafka.bootstrap, is_configured=is_configured)
    if endpoints is None or (is_configured and not line):
        return kafka
    copies = max(kafka.replication, endpoints.kafka_copies)
    return structs.replace(kafka, bootstrap=endpoints.kafka, replication=copies)


def find_endpoints(line: str, bootstrap: str, *, is_configured: bool) -> Endpoints | None:
    """The endpoints of the running pipeline `line`, or of `main` if none is named.

    None if `main` is not running, but the settings are configured or their default `bootstrap`
    answers. Raises NotRunning otherwise.
    """
    name = line or state.MAIN
    running = state.running(name)
    if running is not None and running.endpoints is not None:
        return running.endpoints
    if line or not (is_configured or any(map(answers, bootstrap.split(",")))):
        raise state.NotRunning(name)
    return None


def _named_as_option(fault: Fault) -> Fault:
    given = f"environment {_VARIABLE}"
    return structs.replace(fault, origin="--kafka") if fault.origin == given else fault
