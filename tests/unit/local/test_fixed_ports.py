"""The ports of `./sluice up`: the same each time, and a port in use is reported."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable

import pytest

from local.parts.ports import (
    LOOPBACK,
    PortInUseError,
    fixed_http_port,
    fixed_ports,
    free_ports,
    release,
    reserve,
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


def test_a_port_that_another_process_has_drawn_is_not_drawn_again_until_that_process_ends() -> None:
    draw = "from local.parts import ports; print(*ports.free_ports(1), flush=True); input()"
    with subprocess.Popen(
        (sys.executable, "-c", draw), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        assert not reserve(port)
        other.kill()
        other.wait()
        assert reserve(port)
        assert reserve(port), "this process has it"


def test_another_process_can_draw_a_port_that_was_released() -> None:
    ask = "import sys; from local.parts import ports; sys.exit(not ports.reserve({}))"
    (port,) = free_ports(1)
    command = (sys.executable, "-c", ask.format(port))
    assert subprocess.run(command, check=False).returncode == 1
    release()
    assert subprocess.run(command, check=False).returncode == 0
