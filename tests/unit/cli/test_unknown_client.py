"""A client that is not registered: the same sentence from every command."""

from __future__ import annotations

import pytest

from cli.clients.faults import NAMES_SHOWN, unknown_client


@pytest.mark.parametrize(
    ("name", "known", "sentence"),
    [
        ("shop", [], "no client 'shop' is registered; known: none"),
        ("shop", ["zoo", "bank"], "no client 'shop' is registered; known: bank, zoo"),
        ("shp", ["shop"], "no client 'shp' is registered; known: shop; did you mean shop?"),
        ("\x1b[2J", [], "no client '\\x1b[2J' is registered; known: none"),
        ("\udcff", [], "no client '\\\\xff' is registered; known: none"),
    ],
)
def test_an_unknown_client_is_told_with_those_that_are_known(
    name: str, known: list[str], sentence: str
) -> None:
    assert unknown_client(name, known) == sentence


def test_of_many_clients_only_some_are_listed() -> None:
    known = {f"c{number:03}": None for number in range(NAMES_SHOWN + 7)}
    assert unknown_client("x", known).endswith("c019 and 7 more")
