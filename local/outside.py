"""The settings for a pipeline from the environment and the file that SLUICE_CONFIG names.

`./sluice up` chooses addresses, routes and more for the services that it starts. A setting made by
the user overrides such a choice, key by key. Owns: finding the user's settings. Does not own:
validation (each service validates its settings), the choices (settings.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from shared.settings.loader import Fault, Given, SettingsError, find_given, variable_of

_ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not bound here


class Outside(Struct, frozen=True):
    """The user's settings by section and key, unchanged."""

    given: Mapping[tuple[str, str], Given] = {}

    def origin(self, section: str, key: str) -> str:
        """Where a key is set; "" if it is not set."""
        found = self.given.get((section, key))
        return found.origin if found else ""

    def text(self, section: str, key: str) -> str:
        """The value of a key as text; "" if it is not set."""
        found = self.given.get((section, key))
        return "" if found is None else str(found.value)

    def port(self, section: str, key: str) -> int:
        """A port; 0 if it is not set, or set to 0."""
        text = self.text(section, key).strip()
        return int(text) if text.isascii() and text.isdecimal() else 0

    def host(self, section: str, key: str, otherwise: str) -> str:
        """The address at which a listener with this host is reached."""
        host = self.text(section, key) or otherwise
        return _ANY_ADDRESS.get(host, host)

    def addresses(self, section: str, key: str) -> list[str] | None:
        """A list of addresses; None if it is not set or not valid."""
        found = self.given.get((section, key))
        value: Any = None if found is None else found.value
        try:
            if isinstance(value, str):
                value = msgspec.json.decode(value)
            return msgspec.convert(value, list[str])
        except (msgspec.DecodeError, msgspec.ValidationError):
            return None

    def require_shareable(self, services: int) -> None:
        """Raise SettingsError if several processes would get a port that only one can use."""
        port = self.port("telemetry", "http_port")
        if port and services > 1:
            expected = f"0 or nothing: the {services} services of a pipeline cannot share a port"
            origin = self.origin("telemetry", "http_port")
            raise SettingsError([Fault("telemetry.http_port", str(port), expected, origin)])

    def without_given(self, chosen: Mapping[str, str]) -> dict[str, str]:
        """The chosen variables whose keys the user has not set."""
        given = {variable_of(*path) for path in self.given}
        return {name: value for name, value in chosen.items() if name not in given}


def in_url(host: str) -> str:
    """Format a host for a URL."""
    return f"[{host}]" if ":" in host else host


def find_outside(environ: Mapping[str, str]) -> Outside:
    """Find the user's settings. Raises SettingsError if the file cannot be read."""
    return Outside(find_given(environ))
