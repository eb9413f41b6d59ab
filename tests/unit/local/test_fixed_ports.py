"""The ports of `./sluice up`: the same each time, and a port in use is reported."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from local.parts.ports import (
    LOOPBACK,
    PortInUseError,
    fixed_http_port,
    fixed_ports,
    free_ports,
)

NAMES = ("kafka", "redis", "smtp")
SERVICES = ("ingest", "validate", "deliver", "billing")


@pytest.fixture
def base() -> int:
    """Return a base port such that all ports used here are free."""
    while True:
        (found,) = free_ports(1)
        try:
            fixed_ports(NAMES, found)
            for service in SERVICES:
                fixed_http_port(SERVICES, service, found)
        except PortInUseError:
            continue
        return found


def test_each_name_has_its_port_above_the_base(base: int) -> None:
    found = fixed_ports(NAMES, base)
    assert found == fixed_ports(NAMES, base)
    assert len(set(found.values())) == len(NAMES)
    assert {port - base for port in found.values()} == {92, 379, 587}


def test_the_processes_of_a_service_have_ports_beside_one_another(base: int) -> None:
    first = fixed_http_port(SERVICES, "deliver", base)
    assert fixed_http_port(SERVICES, "billing", base) == first + 10
    assert fixed_http_port(SERVICES, "deliver-3", base) == first + 2


@pytest.mark.parametrize(
    ("port", "ask"),
    [
        (92, lambda base: fixed_ports(NAMES, base)),
        (101, lambda base: fixed_http_port(SERVICES, "ingest", base)),
    ],
)
def test_a_port_in_use_is_named(base: int, port: int, ask: Callable[[int], object]) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, base + port))
        taken.listen()
        with pytest.raises(PortInUseError, match=rf"port {base + port}, for \S+.* is used by"):
            ask(base)
