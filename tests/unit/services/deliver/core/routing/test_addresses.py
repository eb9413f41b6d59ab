"""Which addresses of mail exchangers are used, and what it means if there are none."""

from __future__ import annotations

import pytest

from services.deliver.core.routing.addresses import (
    Addresses,
    Lookup,
    NoAddress,
    Reachable,
    Unroutable,
    address_fault,
    judge_hosts,
    name_fault,
)
from services.deliver.core.routing.sites import Host, Unresolved


@pytest.mark.parametrize(
    ("ip", "kind"),
    [
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("0.0.0.0", "unspecified"),
        ("::", "unspecified"),
        ("169.254.1.1", "link-local"),
        ("fe80::1", "link-local"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "reserved"),
        ("10.0.0.1", "private"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.168.1.1", "private"),
        ("100.64.0.1", "private"),
        ("fd00::1", "private"),
        ("::ffff:10.0.0.1", "private"),
        ("64:ff9b::127.0.0.1", "loopback"),
        ("64:ff9b::10.0.0.1", "private"),
        ("2002:7f00:1::1", "loopback"),
        ("2002:a00:1::1", "private"),
    ],
)
def test_only_private_addresses_may_be_allowed(ip: str, kind: str) -> None:
    assert f"a {kind} address" in address_fault(ip, allow_private=False)
    assert (address_fault(ip, allow_private=True) == "") == (kind == "private")


@pytest.mark.parametrize(
    "ip",
    ["192.0.2.1", "172.32.0.1", "8.8.8.8", "2001:db8::1", "64:ff9b::8.8.8.8", "2002:808:808::1"],
)
def test_other_addresses_are_used(ip: str) -> None:
    assert address_fault(ip, allow_private=False) == ""


@pytest.mark.parametrize(
    ("name", "is_refused"),
    [
        ("localhost", True),
        ("mx.localhost", True),
        ("192.0.2.1", True),
        ("[192.0.2.1]", True),
        ("2001:db8::1", True),
        ("mx.example", False),
        ("localhost.example", False),
        ("1.mx.example", False),
        ("_mx.example", False),
        ("xn--mller-kva.example", False),
        ("m\\228ller.example", True),
        ("\\228" * 60 + ".example", True),
        ("a\\.b.example", True),
        ("*.example", True),
        ("mx example", True),
    ],
)
def test_an_exchanger_is_a_host_name_of_another_host(name: str, is_refused: bool) -> None:
    assert bool(name_fault(name)) == is_refused


GOOD = Addresses(("192.0.2.1",))
HOME = Addresses(("127.0.0.1", "::1"))
MIXED = Addresses(("10.0.0.1", "192.0.2.1"))
UNSURE = Unresolved("SERVFAIL")


@pytest.mark.parametrize(
    ("lookups", "result"),
    [
        ([GOOD], ["192.0.2.1"]),
        ([MIXED], ["192.0.2.1"]),
        ([HOME, GOOD], ["192.0.2.1"]),
        ([NoAddress(), GOOD], ["192.0.2.1"]),
        ([UNSURE, GOOD], ["192.0.2.1"]),
        ([NoAddress()], Unroutable),
        ([HOME], Unroutable),
        ([HOME, NoAddress()], Unroutable),
        ([UNSURE], Unresolved),
        ([UNSURE, NoAddress()], Unresolved),
        ([HOME, UNSURE, NoAddress()], Unresolved),
    ],
)
def test_a_site_is_unroutable_only_if_the_dns_is_sure_of_every_host(
    lookups: list[Lookup], result: list[str] | type
) -> None:
    hosts = [(Host(f"mx{number}.example"), found) for number, found in enumerate(lookups)]
    judged = judge_hosts(hosts, allow_private=False)
    if isinstance(judged, Reachable):
        assert [ip for _, ips in judged.hosts for ip in ips] == result
    else:
        assert type(judged) is result
        assert ".example" in judged.reason


def test_the_reason_names_every_host_and_address() -> None:
    hosts: list[tuple[Host, Lookup]] = [
        (Host("localhost"), NoAddress()),
        (Host("mx.example"), HOME),
    ]
    judged = judge_hosts(hosts, allow_private=False)
    assert judged == Unroutable(
        "localhost is this host itself; mx.example: 127.0.0.1 is a loopback address;"
        " mx.example: ::1 is a loopback address"
    )
