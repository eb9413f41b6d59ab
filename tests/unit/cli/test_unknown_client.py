"""A client that is not registered: the same sentence and exit code from every command."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from cli.clients import faults, removing
from cli.clients.faults import NAMES_SHOWN, unknown_client
from shared.events.log import Reading
from shared.registry.client import Client
from shared.registry.store.view import Loaded
from shared.runtime.errors import PartUnavailable
from shared.settings.sections import KafkaSettings
from shared.topics.codec import event_id
from shared.topics.records import Event, EventType, MailEvent

SHOP = Client("shop", "news.shop.example", "a@b.example", "standard")
GONE = Client("gone", "news.gone.example", "a@b.example", "standard")
MAIL_ID = "01JDEXAMP0E0000000000000ZZ"
PAST = Event(
    event_id(MAIL_ID, EventType.DELIVERED, 0),
    EventType.DELIVERED,
    MAIL_ID,
    MailEvent("forgotten", recipient="anna@example.com", at_ms=1),
)
SENTENCE = "sluice: no client 'nobody' is registered; known: gone, shop\n"


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry without Kafka: shop, and gone, which was removed and is kept."""
    loaded = Loaded({"shop": SHOP}, {"gone": GONE})
    known = {"shop": SHOP, "gone": GONE}

    def events(_: Reading) -> Iterator[Event]:
        return iter([PAST])

    monkeypatch.setattr(faults, "load_known", lambda _: known)
    monkeypatch.setattr(removing, "load_all", lambda _: loaded)
    monkeypatch.setattr(Reading, "events", events)
    for name in ("clients.removing", "events.command", "events.message", "dkim.rotation"):
        module = importlib.import_module(f"cli.{name}")
        monkeypatch.setattr(module, "find_kafka", lambda *_: KafkaSettings())


def run(module: str, *words: str) -> Result:
    return CliRunner().invoke(importlib.import_module(f"cli.{module}").main, [*words])


REGISTER = "register clients with `sluice clients apply`"


@pytest.mark.parametrize(
    ("name", "known", "sentence"),
    [
        ("shop", [], f"no client 'shop' is registered; known: none; {REGISTER}"),
        ("shop", ["zoo", "bank"], "no client 'shop' is registered; known: bank, zoo"),
        ("shp", ["shop"], "no client 'shp' is registered; known: shop; did you mean shop?"),
        ("\x1b[2J", [], f"no client '\\x1b[2J' is registered; known: none; {REGISTER}"),
        ("\udcff", [], f"no client '\\\\xff' is registered; known: none; {REGISTER}"),
    ],
)
def test_an_unknown_client_is_told_with_those_that_are_known(
    name: str, known: list[str], sentence: str
) -> None:
    assert unknown_client(name, known) == sentence


def test_of_many_clients_only_some_are_listed() -> None:
    known = {f"c{number:03}": None for number in range(NAMES_SHOWN + 7)}
    assert unknown_client("x", known).endswith("c019 and 7 more")


@pytest.mark.parametrize(
    "words",
    [
        ("clients.command", "forget", "nobody"),
        ("clients.command", "restore", "nobody"),
        ("events.command", "--client", "nobody"),
        ("events.command", "--client", "nobody", "--follow"),
        ("events.message", MAIL_ID, "--client", "nobody"),
        ("events.message", "anna@example.com", "--client", "nobody"),
    ],
)
def test_every_command_refuses_an_unknown_client_in_the_same_words(words: tuple[str, ...]) -> None:
    done = run(*words)
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", SENTENCE)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("events.command", "--client", "gone"), 0),
        (("events.command", "--client", "forgotten"), 0),
        (("events.command", "--client", "forgotten", "--follow"), 0),
        (("events.command", "--client", "forgotten", "--type", "bounced"), 0),
        (("events.message", MAIL_ID, "--client", "forgotten"), 0),
        (("events.message", MAIL_ID, "--client", "gone"), 1),
        (("clients.command", "forget", "shop"), 1),
    ],
)
def test_a_removed_client_and_one_with_a_past_are_known(words: tuple[str, ...], code: int) -> None:
    done = run(*words)
    assert done.exit_code == code
    assert "is registered" not in done.output


def test_keys_may_be_made_before_their_client_is_registered_which_is_said(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rotate(client: str) -> Result:
        folder = str(tmp_path_factory.mktemp("keys"))
        words = ("--algorithm", "ed25519", "--after", "0s", "--folder", folder)
        return run("dkim.command", "rotate", *words, "--client", client)

    done = rotate("nobody")
    assert done.exit_code == 0
    assert "warning: no client 'nobody' is registered; known: gone, shop" in done.stderr
    assert rotate("shop").stderr == ""

    def refuse(_: KafkaSettings) -> dict[str, Client]:
        raise PartUnavailable("Kafka", "127.0.0.1:9")

    monkeypatch.setattr(faults, "load_known", refuse)
    done = rotate("shop")
    assert done.exit_code == 0
    assert "was not checked: Kafka at 127.0.0.1:9 is unavailable" in done.stderr
