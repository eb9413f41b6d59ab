"""Reads clients.yaml for a command, and compares its lanes and pools with the settings.

Owns: the sentences about lanes and pools that are not configured. Does not own: the handling of
mail for such lanes and pools. If the lane is not configured, the validate service uses the lane
`default`. If the pool is not configured, the deliver service defers the mail.

The command reads its own settings; the settings of the services may differ. If the command's
settings have no pools, the command cannot judge the pool of a client, and prints a warning. If the
command's settings have pools, an unknown pool is an error.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import click

from cli.config.command import ServiceConfigError, ask_service
from shared.mailauth.delegation import Finding, Judgement
from shared.registry.client import Client
from shared.registry.file.clients_file import parse_clients_yaml

LANES: Final = "validate.lanes"
DEFAULT_LANE: Final = "default"
POOLS: Final = "deliver.pools"
DEFAULT_POOL: Final = "default"


def read_clients(path: Path, option: str = "-f") -> list[Client]:
    """Return the clients in a file (- is standard input).

    Raises RegistryError, click.UsageError.
    """
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text("utf-8")
    except OSError as error:
        raise click.UsageError(f"{option} {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{option} {path}: not UTF-8 ({error})") from None
    return parse_clients_yaml(text, "standard input" if str(path) == "-" else str(path))


def known_lanes(environ: Mapping[str, str] | None = None) -> frozenset[str]:
    """Return the lanes in the settings of the validate service. Raises ServiceConfigError.

    `environ` is the environment of the validate service; if it is None, this process's environment
    is used.
    """
    rows = {row.key: row.value for row in ask_service("validate", environ)}
    return frozenset((DEFAULT_LANE, *rows[LANES]))


def expected_lane(known: Iterable[str]) -> str:
    """Return the lanes that a client may have, as text for people."""
    return f"one of {', '.join(sorted(known))} ({LANES})"


def found_lane(lane: str) -> str:
    """Return the sentence about a lane that is not configured."""
    return f"lane {lane} is not configured; its mail goes by the lane {DEFAULT_LANE}"


def lane_warnings(clients: Iterable[Client]) -> list[str]:
    """Return a line per client with an unknown lane, or one line if lanes cannot be checked."""
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
    """Judge whether a client's lane is configured; return nothing for a client without a lane."""
    if not client.lane:
        return []
    known = known_lanes()
    expected = expected_lane(known)
    if client.lane in known:
        return [Finding("lane", Judgement.OK, f"lane {client.lane}", expected)]
    return [Finding("lane", Judgement.WARNING, found_lane(client.lane), expected)]


def known_pools() -> frozenset[str]:
    """Return the pools in the deliver service's settings; empty if the only pool is `default`.

    Raises ServiceConfigError.
    """
    rows = {row.key: row.value for row in ask_service("deliver")}
    found = rows[POOLS]
    return frozenset((DEFAULT_POOL, *found)) if found else frozenset()


def pool_faults(clients: Iterable[Client]) -> tuple[list[str], list[str]]:
    """Return errors and warnings about the pools of clients, one line each."""
    named = [client for client in clients if client.pool not in ("", DEFAULT_POOL)]
    if not named:
        return [], []
    try:
        known = known_pools()
    except ServiceConfigError as error:
        return [], [f"the pools of clients were not checked: {'; '.join(error.lines)}"]
    lines = [f"{one.name}: {found_pool(one.pool, known)}" for one in named if one.pool not in known]
    return (lines, []) if known else ([], lines)


def found_pool(pool: str, known: Iterable[str]) -> str:
    """Return the sentence about a pool that is not configured."""
    names = ", ".join(sorted(known))
    if not names:
        return (
            f"pool {pool} could not be checked, because the settings of this command have no "
            f"{POOLS}; mail is deferred unless the settings of the deliver service have this "
            "pool"
        )
    return f"pool {pool} is not configured, so mail would be deferred; use one of {names}"


def judge_pool(client: Client) -> list[Finding]:
    """Judge whether a client's pool is configured; return nothing for a client without a pool."""
    if client.pool in ("", DEFAULT_POOL):
        return []
    known = known_pools()
    expected = f"one of {', '.join(sorted(known))} ({POOLS})" if known else POOLS
    if client.pool in known:
        return [Finding("pool", Judgement.OK, f"pool {client.pool}", expected)]
    judgement = Judgement.FAULT if known else Judgement.WARNING
    return [Finding("pool", judgement, found_pool(client.pool, known), expected)]
