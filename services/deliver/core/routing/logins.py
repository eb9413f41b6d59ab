"""Parses the file of logins at smart hosts (RFC 4954). Pure.

    ["relay.example.net:587"]
    user = "sluice"
    password = "..."
    tls = "verified"

Owns: the form of the file, the login for a host, and the TLS that the login requires. Does not own:
reading the file (edge/smtp/logins.py). Guarantees: a login is used only at a host that an operator
has named in `deliver.routes` or by `reroute`. If a domain's MX record contains the same host, no
login is used. No error text and no `repr` shows a password.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from services.deliver.core.routing.sites import Host
from services.deliver.core.tls.policy import HostTls, Level, PolicyName
from shared.settings.addresses import split_address, target_fault

MAX_LOGINS: Final = 1_000
MAX_USER_CHARS: Final = 255
# A server may refuse more than 255 octets (RFC 4616, 2), but the tokens of some services are
# longer.
MAX_PASSWORD_CHARS: Final = 1_000
_KEYS: Final = ("user", "password", "tls")


class Login(Struct, frozen=True):
    """A login at a smart host, and the TLS that is required before the login is sent."""

    user: str
    password: str
    level: Level = Level.VERIFIED

    def __repr__(self) -> str:
        return f"Login(user={self.user!r}, level={self.level!r})"


class LoginFaults(ValueError):
    """The faults of a file of logins, one per line."""


class LoginTable(Struct, frozen=True):
    """The logins. A key is a host name in lower case, with a port."""

    logins: Mapping[tuple[str, int], Login] = {}

    def of(self, host: Host) -> Login | None:
        """Return the login at this host; None if no login exists or the host is from the DNS."""
        return self.logins.get((host.name.lower(), host.port)) if host.is_named else None


def parse_logins(text: str) -> LoginTable:
    """Read the text of a file. Raises LoginFaults."""
    try:
        rows = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # The text of the error shows only the position, because the line may contain a password.
        raise LoginFaults(f"it is not TOML: {error}") from None
    if len(rows) > MAX_LOGINS:
        raise LoginFaults(f"found {len(rows)} logins, expected at most {MAX_LOGINS}")
    faults = [
        f"{target}: {fault}" for target, row in rows.items() if (fault := _fault(target, row))
    ]
    if faults:
        raise LoginFaults("\n".join(faults))
    return LoginTable({_key(target): _login(row) for target, row in rows.items()})


def _key(target: str) -> tuple[str, int]:
    name, port = split_address(target)
    return name.lower(), port


def _login(row: Mapping[str, str]) -> Login:
    return Login(row["user"], row["password"], Level(row.get("tls", Level.VERIFIED)))


def _fault(target: str, row: Any) -> str:
    """Return the fault of one login; "" if the login is valid."""
    if fault := target_fault(target):
        return f"expected a table with the name host:port: {fault}"
    if not isinstance(row, dict):
        return "expected a table with user and password"
    if unknown := sorted(row.keys() - set(_KEYS)):
        return f"found the unknown key {unknown[0]!r}, expected {', '.join(_KEYS)}"
    for key, most in (("user", MAX_USER_CHARS), ("password", MAX_PASSWORD_CHARS)):
        value = row.get(key)
        if not isinstance(value, str) or not 1 <= len(value) <= most or not value.isprintable():
            return f"{key}: expected 1 to {most} printable characters on one line"
    levels = [level.value for level in Level]
    if row.get("tls", Level.VERIFIED) not in levels:
        return f"tls: found {row['tls']!r}, expected one of {', '.join(levels)}"
    return ""


def tls_for(login: Login | None, tls: HostTls) -> HostTls:
    """Return `tls`, or stricter TLS if the login requires stricter TLS for its connection."""
    level = Level.OPPORTUNISTIC if login is None else login.level
    is_enough = tls.is_required and (tls.is_verified or level is Level.REQUIRED)
    if level is Level.OPPORTUNISTIC or is_enough or tls.dane is not None:
        return tls
    return HostTls(PolicyName(level.value), is_required=True, is_verified=level is Level.VERIFIED)
