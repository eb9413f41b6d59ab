"""The settings of sources and pools: what they mean, and each fault with its place."""

from __future__ import annotations

import pytest

from services.deliver.core.sources.table import (
    SYSTEM,
    UNCONFIGURED,
    Source,
    SourceFaults,
    read_sources,
)
from shared.topics.records import MailClass

TWO = {
    "mx1": ("mx1.example.com", "192.0.2.1", "2001:db8::1"),
    "mx2": ("mx2.example.com", "192.0.2.2"),
}
MX1 = Source("mx1", "mx1.example.com", "192.0.2.1", "2001:db8::1")
MX2 = Source("mx2", "mx2.example.com", "192.0.2.2")
MARKETING, TRANSACTIONAL = MailClass.MARKETING, MailClass.TRANSACTIONAL


def test_without_settings_the_system_chooses_the_address() -> None:
    assert read_sources({}, {}, {}) == UNCONFIGURED
    pool = UNCONFIGURED.pool_of("", MARKETING)
    assert pool is not None
    assert pool.members == ((SYSTEM, 1),)
    assert UNCONFIGURED.sources == ()


def test_the_pool_is_the_clients_or_that_of_the_class_or_the_default_of_all_sources() -> None:
    table = read_sources(TWO, {"bulk": ("mx2",), "vip": ("mx1*3", "mx2")}, {"marketing": "bulk"})
    members = [
        found.members
        for named, kind in (("vip", MARKETING), ("", MARKETING), ("", TRANSACTIONAL))
        if (found := table.pool_of(named, kind)) is not None
    ]
    assert members == [((MX1, 3), (MX2, 1)), ((MX2, 1),), ((MX1, 1), (MX2, 1))]
    assert table.pool_of("unheard-of", MARKETING) is None
    assert sorted(one.name for one in table.sources) == ["mx1", "mx2"]


@pytest.mark.parametrize(
    ("sources", "pools", "by_class", "expected"),
    [
        ({"a": ("mx.example", "x")}, {}, {}, "deliver.sources.a: found 'x', expected an IP"),
        ({"a": ("mx.example",)}, {}, {}, "deliver.sources.a: found no address"),
        ({"a": ()}, {}, {}, "deliver.sources.a: found '', expected a host name"),
        ({"a": ("192.0.2.1",)}, {}, {}, "deliver.sources.a: found no address"),
        ({"a": ("mx.example", "0.0.0.0")}, {}, {}, "expected the address of one interface"),
        ({"a": ("m.example", "192.0.2.1", "192.0.2.2")}, {}, {}, "found two IPv4 addresses"),
        (
            {"a": ("m.example", "192.0.2.1"), "b": ("n.example", "192.0.2.1")},
            {},
            {},
            "deliver.sources.b: found 192.0.2.1, which a has too",
        ),
        (TWO, {"p": ("mx3",)}, {}, "deliver.pools.p: found 'mx3', expected one of mx1, mx2"),
        (TWO, {"p": ("mx1*0",)}, {}, "deliver.pools.p: found 'mx1*0', expected a source"),
        (TWO, {"p": ("mx1*9999",)}, {}, "deliver.pools.p: found 'mx1*9999'"),
        (TWO, {"p": ("mx1", "mx1*2")}, {}, "deliver.pools.p: found 'mx1' twice"),
        (TWO, {"p": ()}, {}, "deliver.pools.p: found no source"),
        ({}, {"p": ("mx1",)}, {}, "expected one of deliver.sources, which is empty"),
        (TWO, {}, {"marketing": "q"}, "deliver.pool_by_class.marketing: found 'q', expected one"),
    ],
)
def test_a_fault_names_its_setting_and_what_is_expected(
    sources: dict[str, tuple[str, ...]],
    pools: dict[str, tuple[str, ...]],
    by_class: dict[str, str],
    expected: str,
) -> None:
    with pytest.raises(SourceFaults) as raised:
        read_sources(sources, pools, by_class)
    assert expected in str(raised.value)


def test_all_faults_are_reported_at_once_and_a_faulty_source_only_where_it_is_declared() -> None:
    sources = {"a": ("mx.example", "x"), "b": ("mx.example",)}
    with pytest.raises(SourceFaults) as raised:
        read_sources(sources, {"p": ("a", "b", "c")}, {})
    places = [line.partition(": ")[0] for line in str(raised.value).splitlines()]
    assert places == ["deliver.sources.a", "deliver.sources.b", "deliver.pools.p"]


def test_a_source_reaches_the_families_of_its_addresses() -> None:
    assert [MX1.local("192.0.2.9"), MX1.local("2001:db8::9")] == ["192.0.2.1", "2001:db8::1"]
    assert (MX2.reaches("192.0.2.9"), MX2.reaches("2001:db8::9")) == (True, False)
    assert (SYSTEM.reaches("2001:db8::9"), SYSTEM.local("2001:db8::9")) == (True, "")
