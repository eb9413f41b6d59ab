"""Which Kafka a command talks to.

The first of: --kafka, the line named by --state, the setting kafka.bootstrap (environment or
TOML file), the running line `main`, the setting's default.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click
from msgspec import Struct, structs

from cli.stack import state
from shared.runtime.errors import PartUnavailable
from shared.settings.loader import DEFAULT_ORIGIN, Fault, SettingsError, load, variable_of
from shared.settings.sections import KafkaSettings

MAIN_LINE: Final = "main"
_VARIABLE: Final = variable_of("kafka", "bootstrap")
F = TypeVar("F", bound=Callable[..., Any])


class KafkaOnly(Struct, frozen=True):
    """The one section that these commands read."""

    kafka: KafkaSettings = KafkaSettings()


def kafka_options(command: F) -> F:
    """Add --kafka and --state to a click command."""
    command = click.option("--state", "line", default="", help="Name of a running line.")(command)
    return click.option("--kafka", "bootstrap", default="", metavar="HOST:PORT", help="Brokers.")(
        command
    )


def find_kafka(bootstrap: str, line: str) -> KafkaSettings:
    """The settings of the Kafka to talk to. Raises PartAway, SettingsError."""
    if bootstrap:
        # Through the loader, so that it is judged as the setting is.
        try:
            return load(KafkaOnly, {**os.environ, _VARIABLE: bootstrap}).settings.kafka
        except SettingsError as error:
            raise SettingsError(map(_named_as_option, error.faults)) from None
    loaded = load(KafkaOnly)
    kafka = loaded.settings.kafka
    if line:
        address = _door(line)
        if not address:
            raise PartUnavailable("the line", repr(line), "it does not run")
        return structs.replace(kafka, bootstrap=address)
    if loaded.origins["kafka.bootstrap"] != DEFAULT_ORIGIN:
        return kafka
    return structs.replace(kafka, bootstrap=_door(MAIN_LINE) or kafka.bootstrap)


def _named_as_option(fault: Fault) -> Fault:
    given = f"environment {_VARIABLE}"
    return structs.replace(fault, origin="--kafka") if fault.origin == given else fault


def _door(line: str) -> str:
    """Where the Kafka of a running line is; "" when there is no such line."""
    running = state.running(line)
    return running.doors.kafka if running is not None and running.doors is not None else ""
