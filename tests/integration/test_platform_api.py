"""The API for platforms, and one click: against a running pipeline."""

from __future__ import annotations

import itertools
import json
import signal
import time
import urllib.error
import urllib.parse
import urllib.request
from email import message_from_bytes
from email.message import Message
from functools import partial
from http.client import HTTPException
from typing import Any

import pytest
from msgspec import Struct

from services.validate.edge.suppression_view import FRESH_S
from shared.access.keys import AccessKey, Right, Scope
from shared.access.topic import create_key
from shared.registry.client import Client
from shared.registry.store import publish
from shared.registry.store.changes import Changes
from shared.runtime.failpoints import API_NAMES
from shared.settings.sections import KafkaSettings
from shared.stream.kit import FAILPOINT
from tests.support.keeping_server import KEPT_DOMAIN, ReturnedLine
from tests.support.patience import PATIENCE_S
from tests.support.pausing import paused
from tests.support.smtp_peers import wait_until
from tests.support.stream_topics import submit_by_kafka

pytestmark = pytest.mark.xdist_group("returned-round")

RIGHTS = tuple(right.value for right in Right)
ONE_CLICK = b"List-Unsubscribe=One-Click"
CLIENTS = [
    Client(name, f"news.{name}.example", f"back@{name}.example.org", "standard")
    for name in ("clicks", "others")
]


class Answer(Struct, frozen=True):
    """An answer of the API."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def _lower(headers: Message) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


class Platform(Struct, frozen=True):
    """A platform, with a key for the client `clicks`."""

    line: ReturnedLine
    key: str

    def ask(
        self, method: str, path: str, body: bytes | None = None, key: str | None = None
    ) -> Answer:
        url = path if path.startswith("http") else f"{self.line.stack.endpoints.api}{path}"
        found = self.key if key is None else key
        headers = {"Authorization": f"Bearer {found}"} if found else {}
        request = urllib.request.Request(url, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return Answer(answer.status, _lower(answer.headers), answer.read().decode())
        except urllib.error.HTTPError as error:
            return Answer(error.code, _lower(error.headers), error.read().decode())

    def send(self, recipient: str, message_id: str, client: str = "clicks") -> None:
        """Submit a message, and wait until its event is there."""
        content = (
            f"From: a@news.{client}.example\r\nTo: {recipient}\r\nSubject: Sale\r\n"
            f"Message-ID: <{message_id}>\r\n\r\nHello\r\n"
        )
        submit_by_kafka(self.line.stack.endpoints.kafka, client, content.encode())

    def look_up(self, path: str) -> Any:
        """What the API finds. A busy machine may need longer than a look-up may take."""
        found: list[Answer] = []

        def is_answered() -> bool:
            found.append(self.ask("GET", f"/v1/messages{path}"))
            return found[-1].status != 503

        wait_until(is_answered, path, PATIENCE_S)
        assert found[-1].status == 200, found[-1]
        return found[-1].json

    def state(self, message_id: str) -> str:
        """What became of a message, as the API says; "" while there is nothing."""
        asked = self.look_up(f"?message_id={message_id}")
        return asked["messages"][0]["state"] if asked["messages"] else ""

    def end_of(self, message_id: str) -> str:
        """The state of a message, once it has ended."""
        found = [""]

        def has_ended() -> bool:
            found.append(self.state(message_id))
            return found[-1] not in ("", "waiting")

        wait_until(has_ended, f"{message_id} ends", PATIENCE_S)
        return found[-1]

    def ends_as(self, message_id: str, state: str) -> None:
        assert self.end_of(message_id) == state

    def ends_soon_as(self, name: str, recipient: str, state: str) -> None:
        """Submit messages until one ends as this: the first one that is submitted FRESH_S later."""
        until = time.monotonic() + FRESH_S
        for number in itertools.count():
            is_last = time.monotonic() > until
            message_id = f"{name}-{number}@clicks"
            self.send(recipient, message_id)
            if is_last:
                self.ends_as(message_id, state)
            if self.end_of(message_id) == state:
                return

    def reasons(self, recipient: str) -> list[str]:
        found = self.ask("GET", f"/v1/suppressions?recipient={recipient}").json
        return [each["reason"] for each in found["entries"]]


@pytest.fixture(scope="module")
def platform(returned_line: ReturnedLine) -> Platform:
    kafka = KafkaSettings(bootstrap=returned_line.stack.endpoints.kafka)
    publish.apply(kafka, Changes(added=tuple(CLIENTS)))
    wanted = AccessKey("", b"", RIGHTS, Scope("clicks"), created_at_ms=int(time.time() * 1000))
    key, _ = create_key(kafka, wanted)
    found = Platform(returned_line, str(key))
    wait_until(
        lambda: found.ask("GET", "/v1/suppressions").status == 200, "the key is known", PATIENCE_S
    )
    return found


def link_of(platform: Platform, recipient: str) -> str:
    """The link of the message that arrived for this recipient."""
    kept = platform.line.kept
    wait_until(lambda: bool(kept.of(recipient)), f"mail for {recipient}", PATIENCE_S)
    message = message_from_bytes(kept.of(recipient)[0])
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    page = message["List-Unsubscribe"].split(",")[0].strip().strip("<>")
    assert page.startswith(f"{platform.line.stack.endpoints.api}/u/")
    return str(page)


def test_one_click_ends_the_mail_of_a_client_to_a_recipient(platform: Platform) -> None:
    anna = f"Anna@{KEPT_DOMAIN}"
    platform.send(anna, "first@clicks")
    platform.ends_as("first@clicks", "delivered")
    link = link_of(platform, anna)
    shown = platform.ask("GET", link, key="")
    assert (shown.status, anna in shown.text) == (200, True)
    assert platform.reasons(anna) == []
    assert platform.ask("POST", link, b"a=b", key="").status == 400
    assert platform.reasons(anna) == []
    assert platform.ask("POST", link, ONE_CLICK, key="").status == 200
    wait_until(lambda: platform.reasons(anna) == ["unsubscribed"], "the entry is there", PATIENCE_S)
    assert platform.ask("POST", link, ONE_CLICK, key="").status == 200
    platform.ends_soon_as("second", anna, "suppressed")
    asked = platform.look_up("?message_id=first@clicks")
    # The event of the click names the message by its mail id.
    story = platform.look_up(f"/{asked['messages'][0]['mail_id']}")
    events = [each["type"] for each in story["events"]]
    assert events.count("unsubscribed") == 1


def test_a_recipient_that_a_platform_suppresses_gets_no_mail_until_it_is_removed(
    platform: Platform,
) -> None:
    bert = f"bert@{KEPT_DOMAIN}"
    path = f"/v1/suppressions/{urllib.parse.quote(bert)}"
    added = platform.ask("PUT", f"{path}?note=asked")
    assert added.status == 200
    wait_until(lambda: platform.reasons(bert) == ["manual"], "the entry is there", PATIENCE_S)
    platform.ends_soon_as("third", bert, "suppressed")
    assert platform.ask("GET", path).json["reason"] == "manual"
    assert platform.ask("DELETE", path).status == 204
    wait_until(lambda: platform.reasons(bert) == [], "the entry is removed", PATIENCE_S)
    platform.ends_soon_as("fourth", bert, "delivered")
    assert platform.ask("POST", f"/v1/responses/{bert}/reset").json["removed"] == 0
    assert platform.ask("GET", f"/v1/responses/{bert}").json["counters"]["hard"] == 0


def test_another_client_neither_sees_nor_loses_anything(platform: Platform) -> None:
    anna = f"carl@{KEPT_DOMAIN}"
    platform.ask("PUT", f"/v1/suppressions/{anna}")
    platform.send(anna, "first@others", "others")
    wait_until(
        lambda: bool(platform.line.kept.of(anna)), "the mail of the other client", PATIENCE_S
    )
    assert platform.look_up("?message_id=first@others")["messages"] == []
    assert platform.ask("GET", "/v1/suppressions?client=others").status == 403


def test_while_kafka_is_paused_nothing_is_said_to_be_done(platform: Platform) -> None:
    dora = f"dora@{KEPT_DOMAIN}"
    platform.send(dora, "fifth@clicks")
    link = link_of(platform, dora)
    stack = platform.line.stack
    with paused(stack.pids()["kafka"]):
        clicked = platform.ask("POST", link, ONE_CLICK, key="")
        changed = platform.ask("PUT", f"/v1/suppressions/{dora}")
        page = platform.ask("GET", link, key="")
    assert (clicked.status, changed.status, page.status) == (503, 503, 200)
    assert changed.headers["retry-after"] == "5"

    def is_done() -> bool:
        return platform.ask("POST", link, ONE_CLICK, key="").status == 200

    wait_until(is_done, "Kafka takes it again", PATIENCE_S)
    wait_until(lambda: "unsubscribed" in platform.reasons(dora), "the entry is there", PATIENCE_S)


@pytest.mark.long
def test_a_click_is_lost_at_no_step_at_which_the_api_dies_and_counts_once(
    platform: Platform,
) -> None:
    stack = platform.line.stack
    for number, point in enumerate(API_NAMES):
        recipient = f"killed-{number}@{KEPT_DOMAIN}"
        platform.send(recipient, f"killed-{number}@clicks")
        link = link_of(platform, recipient)
        stack.stop_part("api")
        stack.start_part("api", {FAILPOINT: point})
        stack.wait_ready("api")
        with pytest.raises((OSError, HTTPException)):  # it died, and has said nothing
            platform.ask("POST", link, ONE_CLICK, key="")
        stack.stop_part("api")
        stack.start_part("api")
        stack.wait_ready("api")
        assert platform.ask("POST", link, ONE_CLICK, key="").status == 200
        stack.kill("api", signal.SIGKILL)  # right after the answer
        stack.stop_part("api")
        stack.start_part("api")
        stack.wait_ready("api")
        has_entry = partial(platform.reasons, recipient)
        wait_until(lambda found=has_entry: found() == ["unsubscribed"], "the entry", PATIENCE_S)  # type: ignore[misc]
        platform.send(recipient, f"after-{number}@clicks")
        platform.ends_as(f"after-{number}@clicks", "suppressed")
