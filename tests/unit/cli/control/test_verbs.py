"""The orders that the commands of the docs write; Kafka is replaced where they read and write."""

from __future__ import annotations

import importlib

import pytest
from click.testing import CliRunner

from cli.control import options, verbs
from shared.registry.client import Client, Code
from shared.settings.sections import KafkaSettings
from shared.topics.control import Order, Scope, Verb

SHOP = Client(
    "shop", "news.shop.example", "a@b.example", "standard", {"SPRING": Code("spring-26", "shop-de")}
)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Order]:
    found: list[Order] = []

    def write(_kafka: KafkaSettings, orders: list[Order], _forgotten: list[Order]) -> None:
        found.extend(orders)

    monkeypatch.setattr(verbs, "find_kafka", lambda *_: KafkaSettings())
    monkeypatch.setattr(options, "load_known", lambda _: {"shop": SHOP})
    monkeypatch.setattr(verbs, "read_orders", lambda _: [])
    monkeypatch.setattr(verbs, "write_orders", write)
    return found


@pytest.mark.parametrize(
    ("words", "verb", "scope", "lasts_h"),
    [
        (
            [
                *("suspend", "--client", "shop", "--domain", "example.com"),
                *("--reason", "blocked there", "--for", "2h"),
            ],
            Verb.SUSPEND,
            Scope(client="shop", domain="example.com"),
            2,
        ),
        (
            ["bounce", "--client", "shop", "--mailing", "spring-26", "--reason", "wrong prices"],
            Verb.BOUNCE,
            Scope(client="shop", mailing="spring-26"),
            1,
        ),
        (["expire", "--lane", "bulk"], Verb.EXPIRE, Scope(lane="bulk"), 1),
        (
            ["reroute", "--domain", "example.com", "--to", "relay.example.net:25"],
            Verb.REROUTE,
            Scope(domain="example.com"),
            24,
        ),
        (
            ["suspend", "--site", "MX.example.com", "--provider", "google", "--until-resumed"],
            Verb.SUSPEND,
            Scope(site="mx.example.com", provider="google"),
            0,
        ),
        (
            ["suspend", "--client", "shop", "--sub-client", "shop-de", "--domain", "münchen.de"],
            Verb.SUSPEND,
            Scope(client="shop", sub_client="shop-de", domain="xn--mnchen-3ya.de"),
            24,
        ),
    ],
)
def test_a_command_writes_one_order(
    written: list[Order], words: list[str], verb: Verb, scope: Scope, lasts_h: int
) -> None:
    name, *rest = words
    command = importlib.import_module(f"cli.control.{name}").main
    shown = CliRunner().invoke(command, [*rest, "--author", "ann"])
    assert shown.exit_code == 0, shown.output
    (order,) = written
    assert (order.verb, order.scope, order.author) == (verb, scope, "ann")
    lasts_ms = order.expires_at_ms - order.at_ms if order.expires_at_ms else 0
    assert lasts_ms == lasts_h * 3_600_000
    assert str(scope) in shown.output
