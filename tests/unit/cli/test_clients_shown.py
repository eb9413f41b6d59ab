"""What `clients list` and `clients diff` say."""

from __future__ import annotations

import pytest

from cli.clients.command import list_lines, same_as
from shared.registry.client import Client, Code

ACME = Client("acme", "acme.example", "a@b.example", "M-1", {"spring": Code("M-2")})
BANK = Client("bank", "bank.example", "a@b.example", "N-1")


def test_the_clients_are_a_table() -> None:
    assert list_lines([ACME, BANK], 80) == [
        "client  sending domain  mailing ID  codes  credentials",
        "acme    acme.example    M-1             1  0",
        "bank    bank.example    N-1             0  0",
    ]


@pytest.mark.parametrize(
    ("clients", "sentence"),
    [
        ([], "the file has no clients"),
        ([ACME], "1 client of the file is registered as in the file"),
        ([ACME, BANK], "2 clients of the file are registered as in the file"),
    ],
)
def test_no_difference_is_a_sentence(clients: list[Client], sentence: str) -> None:
    assert same_as(clients) == sentence
