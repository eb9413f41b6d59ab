"""Compares the lanes that clients name with those that validate's settings have.

Owns: the words of the warning. Does not own: what becomes of the mail (validate sends it by the
lane `default`). The settings are those that this command sees; validate's own may differ.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cli.config.service_settings import ServiceConfigError, ask_service
from shared.mailauth.delegation import Finding, Judgement
from shared.registry.client import Client

SERVICE: Final = "validate"
SETTING: Final = "validate.lanes"
DEFAULT_LANE: Final = "default"


def known_lanes() -> frozenset[str]:
    """The lanes of validate's settings. Raises ServiceConfigError."""
    rows = {row.key: row.value for row in ask_service(SERVICE)}
    return frozenset((DEFAULT_LANE, *rows[SETTING]))


def expected_lane(known: Iterable[str]) -> str:
    """The lanes that a client may have, for people."""
    return f"one of {', '.join(sorted(known))} ({SETTING})"


def found_lane(lane: str) -> str:
    """The sentence about a lane that is not configured."""
    return f"lane {lane} is not configured; its mail goes by the lane {DEFAULT_LANE}"


def lane_warnings(clients: Iterable[Client]) -> list[str]:
    """One line per client whose lane is not configured; services are asked only if needed."""
    named = [client for client in clients if client.lane]
    if not named:
        return []
    try:
        known = known_lanes()
    except ServiceConfigError as error:
        return [f"the lanes of clients were not checked: {'; '.join(error.lines)}"]
    return [
        f"{client.name}: {found_lane(client.lane)}; it may be {expected_lane(known)}"
        for client in named
        if client.lane not in known
    ]


def judge_lane(client: Client) -> list[Finding]:
    """Whether a client's lane is configured; nothing if it names none."""
    if not client.lane:
        return []
    known = known_lanes()
    expected = expected_lane(known)
    if client.lane in known:
        return [Finding("lane", Judgement.OK, f"lane {client.lane}", expected)]
    return [Finding("lane", Judgement.WARNING, found_lane(client.lane), expected)]
