"""What `sluice shaping explain` answers; Kafka and Redis are replaced where it reads them."""

from __future__ import annotations

import json

import msgspec
import pytest
from click.testing import CliRunner

from cli.config.command import ask_module
from cli.control.checking import PROVIDERS_COMMAND, Providers
from services.deliver.cli import shaping
from services.deliver.cli.reputation import Known
from shared.registry.client import Client, Code
from shared.settings.sections import KafkaSettings
from shared.store.client import StoreUnavailable
from shared.store.suspensions import SuspensionStore
from shared.topics.control import Order, Scope, Verb

NOTHING = "nothing is suspended, and no order concerns this mail"
SHOP = Client(
    "shop", "n.shop.example", "a@b.example", "standard", {"SPRING": Code("spring-26", "")}
)
ON_CLIENT = Order(Verb.SUSPEND, Scope(client="shop"), "ann", "a leak", 10)
ON_DOMAIN = Order(Verb.SUSPEND, Scope(domain="x1.example"), "bob", "\x1b[2J", 20)


class Answers:
    """What Kafka and Redis say."""

    def __init__(self) -> None:
        self.kafka = Known(orders=(ON_CLIENT, ON_DOMAIN))
        self.redis_fault = ""

    async def suspensions(self) -> list[str]:
        if self.redis_fault:
            raise StoreUnavailable(self.redis_fault)
        return []


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    found = Answers()
    monkeypatch.setenv("SLUICE_REDIS__URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("SLUICE_DELIVER__ROUTES", '{"*": "127.0.0.1:2525"}')
    monkeypatch.setattr(shaping, "read_known", lambda *_: found.kafka)
    monkeypatch.setattr(shaping, "find_kafka", lambda *_: KafkaSettings())
    monkeypatch.setattr(shaping, "load_known", lambda _: {"shop": SHOP})
    monkeypatch.setattr(SuspensionStore, "exchange", found.suspensions)
    return found


def explain(*words: str, code: int = 0) -> str:
    shown = CliRunner().invoke(shaping.group, ["explain", *words])
    assert shown.exit_code == code, shown.output
    return shown.output


@pytest.mark.usefixtures("answers")
@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (
            ("x1.example",),
            [
                "suspend: domain x1.example, until resumed, by bob: \\x1b[2J",
                "a part of this mail: suspend: client shop, until resumed, by ann: a leak",
            ],
        ),
        (
            ("x1.example", "--client", "shop"),
            [
                "suspend: domain x1.example, until resumed, by bob: \\x1b[2J",
                "suspend: client shop, until resumed, by ann: a leak",
            ],
        ),
        (
            ("x2.example", "--client", "shop", "--mailing", "spring-26"),
            ["suspend: client shop, until resumed, by ann: a leak"],
        ),
    ],
)
def test_every_order_on_the_mail_is_shown(words: tuple[str, ...], lines: list[str]) -> None:
    shown = explain(*words)
    assert shown.splitlines()[-len(lines) :] == lines
    assert NOTHING not in shown


def test_nothing_is_said_to_be_free_unless_all_is_known(answers: Answers) -> None:
    answers.kafka = Known()
    assert explain("x2.example").splitlines()[-1] == NOTHING
    answers.redis_fault = "Redis is unavailable"
    assert NOTHING not in explain("x2.example")
    answers.redis_fault, answers.kafka = "", Known(fault="Kafka is unavailable")
    shown = explain("x2.example", "--client", "any")
    assert NOTHING not in shown
    assert "orders and warm-up could not be read: Kafka is unavailable" in shown


@pytest.mark.usefixtures("answers")
def test_orders_on_a_part_are_told_apart_in_json() -> None:
    found = json.loads(explain("x1.example", "--json"))
    assert [each["scope"] for each in found["orders"]] == [{"domain": "x1.example"}]
    assert [each["scope"] for each in found["orders_in_part"]] == [{"client": "shop"}]


@pytest.mark.usefixtures("answers")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--client", "shpo"), "no client 'shpo' is registered; known: shop; did you"),
        (("--client", "shop", "--mailing", "x"), "--mailing: shop has no mailing ID 'x'"),
        (("--mailing", "spring-26"), "--mailing belongs to a client: add --client"),
        (("--source", "mx9"), "--source: no source 'mx9' is known; known: none"),
    ],
)
def test_a_sender_that_there_is_not_is_refused(words: tuple[str, ...], said: str) -> None:
    assert said in explain("x1.example", *words, code=2)


@pytest.mark.usefixtures("answers")
def test_the_providers_are_listed_as_the_commands_that_order_read_them() -> None:
    """Run as those commands run it: in a process of its own."""
    found = msgspec.json.decode(ask_module(*PROVIDERS_COMMAND), type=Providers)
    shown = CliRunner().invoke(shaping.group, ["providers"])
    assert found.providers == shown.output.splitlines()
    assert "google" in found.providers
    assert found.origin == "the shipped rules (deliver.shaping_file)"
