"""Opportunistic TLS: what the context allows, and which servers are remembered as broken."""

from __future__ import annotations

import ssl

import pytest

from services.deliver.core.routing.sites import Host
from services.deliver.edge.smtp.server_memory import BROKEN_TLS_S, MAX_FAULTS, FaultMemory
from services.deliver.edge.smtp.tls import (
    OPPORTUNISTIC,
)

MX = Host("mx.example", 25)


def ciphers() -> list[str]:
    assert OPPORTUNISTIC.context is not None
    return [cipher["name"] for cipher in OPPORTUNISTIC.context.get_ciphers()]


@pytest.mark.parametrize(
    "name",
    ["TLS_AES_256_GCM_SHA384", "ECDHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES256-SHA", "AES256-SHA"],
)
def test_new_and_old_ciphers_are_offered(name: str) -> None:
    assert name in ciphers()


def test_new_ciphers_are_preferred() -> None:
    assert ciphers().index("ECDHE-RSA-AES256-GCM-SHA384") < ciphers().index("AES256-SHA")


@pytest.mark.parametrize("part", ["NULL", "ADH", "AECDH", "EXP", "anon", "RC2", "DES-CBC-"])
def test_no_cipher_is_offered_that_protects_nothing(part: str) -> None:
    assert not [name for name in ciphers() if part in name]


def test_ssl_3_is_excluded() -> None:
    assert OPPORTUNISTIC.context is not None
    assert OPPORTUNISTIC.context.options & ssl.OP_NO_SSLv3


def test_a_server_whose_tls_is_broken_is_remembered_for_hours_by_host_and_port() -> None:
    broken = FaultMemory(BROKEN_TLS_S)
    assert broken.fault(MX, 0.0) == ""
    broken.remember(MX, "no handshake", 10.0)
    assert broken.fault(MX, 10.0) == "no handshake"
    assert broken.fault(MX, 10.0 + BROKEN_TLS_S - 1) == "no handshake"
    assert broken.fault(MX, 10.0 + BROKEN_TLS_S) == ""
    assert broken.fault(Host("mx.example", 2525), 10.0) == ""
    assert broken.fault(Host("other.example", 25), 10.0) == ""


def test_a_server_that_is_forgotten_gets_another_try() -> None:
    broken = FaultMemory(BROKEN_TLS_S)
    broken.remember(MX, "no handshake", 0.0)
    broken.forget(MX)
    broken.forget(MX)
    assert broken.fault(MX, 0.0) == ""


def test_the_oldest_of_too_many_servers_is_forgotten() -> None:
    broken = FaultMemory(BROKEN_TLS_S)
    hosts = [Host(f"mx{number}.example", 25) for number in range(MAX_FAULTS + 1)]
    for host in hosts[:-1]:
        broken.remember(host, "fault", 0.0)
    broken.remember(hosts[0], "again", 1.0)
    broken.remember(hosts[-1], "fault", 2.0)
    found = [bool(broken.fault(host, 2.0)) for host in (hosts[0], hosts[1], hosts[2], hosts[-1])]
    assert found == [True, False, True, True]
