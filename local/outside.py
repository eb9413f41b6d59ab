"""Finds the user's settings for a pipeline, in the environment and in the file in SLUICE_CONFIG.

`./sluice up` chooses addresses, routes and other settings for the services that it starts. If the
user has set a key, the user's value is used instead. Owns: finding the user's settings. Does not
own: validation (each service validates its settings), the choices (settings.py).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct, structs

from shared.settings.loader import Fault, Given, SettingsError, find_given, load, variable_of
from shared.settings.sections import KafkaSettings, RedisSettings

_ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - no socket is bound here


class Outside(Struct, frozen=True):
    """The user's settings by section and key, unchanged."""

    given: Mapping[tuple[str, str], Given] = {}

    def origin(self, section: str, key: str) -> str:
        """Return the place where a key is set. Return "" if the key is not set."""
        found = self.given.get((section, key))
        return found.origin if found else ""

    def text(self, section: str, key: str) -> str:
        """Return the value of a key as text. Return "" if the key is not set."""
        found = self.given.get((section, key))
        return "" if found is None else str(found.value)

    def port(self, section: str, key: str) -> int:
        """Return the port in a key. Return 0 if the key is not set or is 0."""
        text = self.text(section, key).strip()
        return int(text) if text.isascii() and text.isdecimal() else 0

    def host(self, section: str, key: str, otherwise: str) -> str:
        """Return the address at which clients reach a listener whose host is in this key."""
        host = self.text(section, key) or otherwise
        return _ANY_ADDRESS.get(host, host)

    def addresses(self, section: str, key: str) -> list[str] | None:
        """Return the list of addresses in a key. Return None if the key is not set or not valid."""
        found = self.given.get((section, key))
        value: Any = None if found is None else found.value
        try:
            if isinstance(value, str):
                value = msgspec.json.decode(value)
            return msgspec.convert(value, list[str])
        except (msgspec.DecodeError, msgspec.ValidationError):
            return None

    def require_shareable(self, services: int) -> None:
        """Raise SettingsError if several processes would get the same port."""
        port = self.port("telemetry", "http_port")
        if port and services > 1:
            expected = f"0, or no value: the {services} services of a pipeline cannot share a port"
            origin = self.origin("telemetry", "http_port")
            sentence = (
                f"the services of a pipeline cannot share port {port}; set 0, or remove the setting"
            )
            fault = Fault("telemetry.http_port", str(port), expected, origin, sentence)
            raise SettingsError([fault])

    def without_given(self, chosen: Mapping[str, str]) -> dict[str, str]:
        """Return the variables in `chosen` whose keys the user has not set."""
        given = {variable_of(*path) for path in self.given}
        return {name: value for name, value in chosen.items() if name not in given}


class Servers(Struct, frozen=True):
    """The sections of the settings that have the addresses of Kafka and Redis."""

    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()


def check_servers(kafka: str, redis: str) -> None:
    """Check the options --kafka and --redis, which are "" if absent. Raises SettingsError."""
    options = {variable_of("kafka", "bootstrap"): kafka, variable_of("redis", "url"): redis}
    try:
        # The loader checks the options in the same way as the settings.
        load(Servers, {name: value for name, value in options.items() if value})
    except SettingsError as error:
        raise SettingsError(
            structs.replace(fault, origin=f"--{fault.path.partition('.')[0]}")
            for fault in error.faults
        ) from None


def servers(kafka: str = "", redis: str = "", extra: Mapping[str, str] | None = None) -> Servers:
    """Return the settings of Kafka and Redis. An argument that is not "" replaces the address in
    the settings.

    `extra` contains variables that are used in addition to the environment. Raises SettingsError.
    """
    named = {variable_of("kafka", "bootstrap"): kafka, variable_of("redis", "url"): redis}
    named = {name: value for name, value in named.items() if value}
    return load(Servers, {**os.environ, **(extra or {}), **named}).settings


def find_outside(environ: Mapping[str, str]) -> Outside:
    """Find the user's settings. Raises SettingsError if the file cannot be read."""
    return Outside(find_given(environ))
