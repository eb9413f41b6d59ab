"""A client that names a pool of source addresses: what `sluice clients` says about it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.clients.given import pool_faults
from shared.registry.client import Client
from shared.registry.file.clients_file import parse_clients_yaml

DOMAIN = "news.shop.example"
NONE = Client("none", DOMAIN, "returns@owner.example", "M-1")
BULK = Client("bulk", DOMAIN, "returns@owner.example", "M-1", pool="bulk")
TYPO = Client("typo", DOMAIN, "returns@owner.example", "M-1", pool="blk")


def test_without_pools_in_the_settings_a_pool_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLUICE_DELIVER__POOLS", raising=False)
    errors, warnings = pool_faults([NONE, BULK])
    assert errors == []
    assert warnings == [
        "bulk: pool bulk could not be checked, because the settings of this command have no"
        " deliver.pools; mail is deferred unless the settings of the deliver service have this pool"
    ]


def test_with_pools_another_name_is_an_error_that_lists_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLUICE_DELIVER__POOLS", json.dumps({"bulk": ["mx1"]}))
    errors, warnings = pool_faults([NONE, BULK, TYPO])
    assert warnings == []
    assert errors == [
        "typo: pool blk is not configured, so mail would be deferred; use one of bulk, default"
    ]


def test_the_example_file_works_without_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLUICE_DELIVER__POOLS", raising=False)
    clients = parse_clients_yaml(Path("docs/examples/clients.yaml").read_text("utf-8"))
    assert {client.name for client in clients} == {"acme", "beta"}
    assert pool_faults(clients) == ([], [])
