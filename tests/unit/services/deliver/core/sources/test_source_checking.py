"""What the checks of a source address find."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from services.deliver.core.routing.addresses import Addresses, Lookup, NoAddress
from services.deliver.core.routing.sites import Unresolved
from services.deliver.core.sources.checking import Severity
from services.deliver.core.sources.table import Source
from services.deliver.edge.sources.selecting import check_sources

OK, WARNING, ERROR = Severity.OK, Severity.WARNING, Severity.ERROR
PUBLIC = "8.8.4.4"
SOURCE = Source("mx1", "MX1.example.com.", PUBLIC)


class Names:
    """A DNS of fixed answers."""

    def __init__(
        self, pointers: tuple[str, ...] | Unresolved, forward: Mapping[str, Lookup] | None = None
    ) -> None:
        self._pointers = pointers
        self._forward = forward or {}

    async def pointers(self, ip: str) -> tuple[str, ...] | Unresolved:
        return self._pointers

    async def addresses(self, name: str) -> Lookup:
        return self._forward.get(name, NoAddress())


OURS = "mx1.example.com"
BACK = {OURS: Addresses(("192.0.2.9", PUBLIC))}


@pytest.mark.parametrize(
    ("names", "severity", "words"),
    [
        (Names((OURS,), BACK), OK, "resolve to each other"),
        (Names(("other.example", OURS), BACK), OK, "resolve to each other"),
        (Names(()), ERROR, "has no PTR record"),
        (Names((OURS,)), ERROR, "does not resolve to it"),
        (Names((OURS,), {OURS: Addresses(("192.0.2.9",))}), ERROR, "does not resolve to it"),
        (Names(("a.example",), {"a.example": Addresses((PUBLIC,))}), ERROR, "make them equal"),
        (Names(Unresolved("SERVFAIL")), WARNING, "SERVFAIL"),
        (Names((OURS,), {OURS: Unresolved("SERVFAIL")}), WARNING, "gave no addresses"),
    ],
)
def test_an_address_is_judged_by_its_ptr_record_and_ehlo_name(
    names: Names, severity: Severity, words: str
) -> None:
    (found,) = asyncio.run(check_sources([SOURCE], names, lambda ip: ""))
    assert found.severity is severity
    assert words in found.text


def test_an_address_that_this_host_does_not_have_is_an_error_without_look_ups() -> None:
    (found,) = asyncio.run(check_sources([SOURCE], Names((OURS,), BACK), lambda ip: "not here"))
    assert (found.severity, found.address) == (ERROR, PUBLIC)
    assert "not here" in str(found)


def test_a_private_address_is_a_warning_and_each_address_has_its_finding() -> None:
    source = Source("mx2", "mx2.example.com", "127.0.0.2", "fd00::1")
    found = asyncio.run(check_sources([source], Names(()), lambda ip: ""))
    assert [(one.address, one.severity) for one in found] == [
        ("127.0.0.2", WARNING),
        ("fd00::1", WARNING),
    ]
