"""The orders that the commands of the docs write; Kafka is replaced where they read and write."""

from __future__ import annotations

import importlib
import json

import pytest
from click.testing import CliRunner

from cli.config.command import ServiceConfigError
from cli.control import checking, verbs
from shared.registry.client import Client, Code
from shared.settings.sections import KafkaSettings
from shared.topics.control import Order, Scope, Verb

SHOP = Client(
    "shop", "news.shop.example", "a@b.example", "standard", {"SPRING": Code("spring-26", "shop-de")}
)

PROVIDERS = '{"providers": ["google", "yahoo"], "origin": "the shipped rules"}'


def run(name: str, *words: str, code: int = 0) -> str:
    command = importlib.import_module(f"cli.control.{name}").main
    shown = CliRunner().invoke(command, [*words, "--author", "ann"])
    assert shown.exit_code == code, shown.output
    return shown.output


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Order]:
    found: list[Order] = []

    def write(_kafka: KafkaSettings, orders: list[Order], _forgotten: list[Order]) -> None:
        found.extend(orders)

    monkeypatch.setattr(verbs, "find_kafka", lambda *_: KafkaSettings())
    monkeypatch.setattr(checking, "load_known", lambda _: {"shop": SHOP})
    monkeypatch.setattr(checking, "topic_names", lambda _: {"mail.outbound.bulk", "mail.events"})
    monkeypatch.setattr(checking, "ask_module", lambda *_: PROVIDERS)
    # Written ones too: the record of a scope is the last one.
    monkeypatch.setattr(verbs, "read_orders", lambda _: list({o.scope: o for o in found}.values()))
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
    shown = run(*words)
    (order,) = written
    assert (order.verb, order.scope, order.author) == (verb, scope, "ann")
    lasts_ms = order.expires_at_ms - order.at_ms if order.expires_at_ms else 0
    assert lasts_ms == lasts_h * 3_600_000
    assert str(scope) in shown


@pytest.mark.parametrize("verb", ["suspend", "bounce", "resume"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--client", "shpo"), "no client 'shpo' is registered; known: shop; did you"),
        (("--client", "shop", "--mailing", "x"), "--mailing: shop has no mailing ID 'x'"),
        (("--client", "shop", "--sub-client", "x"), "--sub-client: shop has no sub-client 'x'"),
        (("--lane", "bluk"), "--lane: no lane 'bluk' is known; known: bulk; did you mean bulk?"),
        (
            ("--provider", "gogle"),
            "--provider: no provider 'gogle' is known; known: google, yahoo; did you mean google?;"
            " the providers are those of the shipped rules",
        ),
    ],
)
def test_an_order_on_what_no_mail_can_have_is_refused(
    written: list[Order], verb: str, words: tuple[str, ...], said: str
) -> None:
    assert said in run(verb, *words, code=2)
    assert written == []


def test_what_cannot_be_checked_is_ordered_all_the_same_and_said(
    written: list[Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: str) -> str:
        raise ServiceConfigError(("deliver.shaping_file: no such file",), 2)

    monkeypatch.setattr(checking, "ask_module", refuse)
    monkeypatch.setattr(checking, "topic_names", lambda _: set())
    shown = run("suspend", "--provider", "mine", "--lane", "bulk")
    assert "the provider was not checked: deliver.shaping_file: no such file" in shown
    assert "the lane was not checked" in shown
    assert [order.scope for order in written] == [Scope(provider="mine", lane="bulk")]


def test_an_order_on_a_name_that_is_gone_since_can_be_ended(written: list[Order]) -> None:
    scope = Scope(client="gone", provider="former")
    written.append(Order(Verb.SUSPEND, scope, "bob", "why", 10))
    shown = run("resume", "--client", "gone", "--provider", "former")
    assert "ended: suspend since 1970-01-01 00:00:00Z, by bob: why" in shown
    assert written[-1].verb is Verb.RESUME


def test_the_answer_names_the_order_that_was_replaced(written: list[Order]) -> None:
    assert "replaced" not in run("suspend", "--domain", "x.example", "--reason", "blocked")
    to = ("--domain", "x.example", "--to", "h.example:25")
    shown = run("reroute", *to)
    assert shown.splitlines()[1].startswith("replaced: suspend since ")
    assert shown.endswith(", by ann: blocked\n")
    found = json.loads(run("reroute", *to, "--json"))
    assert (found["verb"], found["replaced"]["verb"]) == ("reroute", "reroute")
    run("resume", "--domain", "x.example")
    assert json.loads(run("reroute", *to, "--json"))["replaced"] is None


def test_an_order_for_years_needs_a_word_of_its_own(written: list[Order]) -> None:
    said = run("suspend", "--lane", "bulk", "--for", "99999d", code=2)
    assert "--for: '99999d' is too long, at most 366d; or use --until-resumed" in said
    run("suspend", "--lane", "bulk", "--for", "366d")
    assert len(written) == 1
