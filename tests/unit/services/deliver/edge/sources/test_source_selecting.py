"""Which sources a message may use while some are unavailable, and pools that do not exist."""

from __future__ import annotations

from msgspec.structs import replace

from services.deliver.core.attempt.results import NoSource
from services.deliver.core.sources.table import SYSTEM, read_sources
from services.deliver.edge.sources.selecting import SourceHealth, Sources
from tests.support.pool_talk import envelope

TABLE = read_sources(
    {"a": ("a.example", "192.0.2.1"), "b": ("b.example", "192.0.2.2")}, {"one": ("a",)}, {}
)
MAIL = envelope("x@d.example")


class Host:
    """The addresses that a host lacks."""

    def __init__(self) -> None:
        self.lacks: set[str] = set()
        self.sources = Sources(TABLE, SourceHealth(TABLE.sources, self.fault))

    def fault(self, ip: str) -> str:
        return "not here" if ip in self.lacks else ""

    def names(self, pool: str = "") -> list[str] | str:
        found = self.sources.of(replace(MAIL, pool=pool))
        return found.reason if isinstance(found, NoSource) else [one.name for one in found]


def test_a_source_that_is_unavailable_is_left_out_until_it_is_back() -> None:
    host = Host()
    assert sorted(host.names()) == ["a", "b"]
    host.lacks = {"192.0.2.1"}
    host.sources.health.look()
    assert host.names() == ["b"]
    assert host.names("one") == "No source of the pool one is available: a: 192.0.2.1: not here"
    assert (host.sources.health.unavailable, host.sources.health.status()) == (
        1,
        "source a: 192.0.2.1: not here",
    )
    host.lacks = set()
    host.sources.health.look()
    assert sorted(host.names()) == ["a", "b"]
    assert host.sources.health.status() == ""


def test_what_a_connection_finds_is_known_at_once_but_a_wrong_family_is_no_fault() -> None:
    host = Host()
    a, b = sorted(TABLE.sources, key=lambda one: one.name)
    host.sources.failed(a, NoSource("gone", is_unavailable=True))
    host.sources.failed(b, NoSource("no IPv6 address"))
    assert host.names() == ["b"]


def test_a_pool_that_does_not_exist_defers_the_mail_of_its_client_only() -> None:
    host = Host()
    assert host.names("typo") == "The pool 'typo' of the client is not in deliver.pools"
    assert host.names("one") == ["a"]
    unconfigured = Sources()
    assert unconfigured.of(MAIL) == [SYSTEM]
    assert isinstance(unconfigured.of(replace(MAIL, pool="typo")), NoSource)
