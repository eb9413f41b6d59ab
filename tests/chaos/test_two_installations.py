"""Two installations whose clients forward returned mail to each other: mail ends after one hop.

A long run: `./sluice test --long -k two_installations`. Each installation has its own Kafka, Redis
and keys of return paths. Mail for the sending domain of the other installation is sent to the
bounce door there. Mail that comes back to one installation is forwarded once. The other
installation does not know the keys of the first one, but does not forward this mail again.
"""

from __future__ import annotations

import json
import operator
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest
from msgspec import Struct

from local.stack import Stack, StackOptions
from shared.registry.client import Client
from shared.registry.store import publish
from shared.registry.store.changes import Changes
from shared.settings.sections import KafkaSettings
from shared.topics.records import EventType
from tests.support.bounce_door import all_returned, at_bounce_door
from tests.support.chaos.witnesses import EventWatch, SinkJournal
from tests.support.fork_server import fork
from tests.support.patience import PATIENCE_S
from tests.support.smtp_peers import wait_until
from tests.support.stream_topics import submit_by_kafka

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

# A loop takes well under a second per hop.
QUIET_S: Final = 20.0
ANSWERS: Final = {
    "a letter": "Subject: Re: Sale\r\n\r\nPlease call me.\r\n",
    "an absence": "Subject: Out of office\r\nAuto-Submitted: auto-replied\r\n\r\nAway.\r\n",
    "a receipt that asks for one": (
        "Subject: Question\r\nDisposition-Notification-To: max@r.example.net\r\n\r\nWhen?\r\n"
    ),
}


class Installation(Struct, frozen=True):
    """A pipeline with one client."""

    stack: Stack
    client: Client
    watch: EventWatch

    @property
    def news(self) -> str:
        """Return the From address of its mail."""
        return f"news@{self.client.sending_domain}"

    def submit(self, recipient: str) -> None:
        """Send a message by Kafka."""
        content = (
            f"From: News <{self.news}>\r\nTo: {recipient}\r\nSubject: Sale\r\n"
            f"Message-ID: <to-{recipient}>\r\n\r\nHello\r\n"
        )
        submit_by_kafka(self.stack.endpoints.kafka, self.client.name, content.encode())

    def comes_back(self, sender: str, recipient: str, content: str) -> None:
        """Hand a message to the bounce door."""
        with at_bounce_door(self.stack, 60) as smtp:
            smtp.sendmail(sender, [recipient], content.encode())

    def count(self, kind: EventType) -> int:
        events = self.watch.events(frozenset({self.client.name}))
        return sum(event.type is kind for event in events)

    def came_back(self) -> int:
        """Return how many messages the bounce door has accepted."""
        return len(all_returned(self.stack.endpoints.kafka))


@pytest.fixture(scope="module")
def two(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Installation, Installation]]:
    """Yield a pair of installations; each forwards to the From address of the other."""
    folder = tmp_path_factory.mktemp("two")
    clients = [
        Client(name, f"news.{name}.example", f"news@news.{other}.example", "M-1")
        for name, other in (("left", "right"), ("right", "left"))
    ]
    with ExitStack() as parts:
        stacks = [_stack(client.name, folder) for client in clients]
        for stack, other, client in zip(stacks, reversed(stacks), reversed(clients), strict=True):
            assert other.endpoints.bounce is not None
            routes = {client.sending_domain: other.endpoints.bounce, "*": stack.settings.sink}
            stack.options.part_env["deliver"] = {"SLUICE_DELIVER__ROUTES": json.dumps(routes)}
        pair = []
        for stack, client in zip(stacks, clients, strict=True):
            parts.enter_context(stack)
            kafka = stack.endpoints.kafka
            publish.apply(KafkaSettings(bootstrap=kafka), Changes(added=(client,)))
            pair.append(Installation(stack, client, EventWatch(kafka)))
            parts.callback(pair[-1].watch.close)
        yield pair[0], pair[1]


def _stack(name: str, folder: Path) -> Stack:
    options = StackOptions(
        name=f"two-{name}",
        folder=folder / name,
        start=fork,
        is_lasting=False,
        services=("ingest", "validate", "deliver"),
    )
    return Stack(options)


@pytest.mark.parametrize("what", list(ANSWERS))
def test_an_answer_is_forwarded_once_by_two_installations_that_forward_to_each_other(
    two: tuple[Installation, Installation], what: str
) -> None:
    left, _ = two
    before = _moved(two)
    left.comes_back("max@r.example.net", left.news, ANSWERS[what])
    _ends_with(two, before, Moved(came_back=(1, 1), forwarded=(1, 0)))


def test_a_bounce_is_forwarded_once_by_two_installations_that_forward_to_each_other(
    two: tuple[Installation, Installation],
) -> None:
    left, _ = two
    before = _moved(two)
    left.submit("ok-max@r.example.net")
    journal = SinkJournal(left.stack.sink_journal)
    wait_until(
        lambda: bool(journal.lines("ok-max@r.example.net")), "the message has arrived", PATIENCE_S
    )
    (line,) = journal.lines("ok-max@r.example.net")
    left.comes_back(
        "", line.mail_from, "Subject: Undelivered Mail Returned to Sender\r\n\r\n550 no user\r\n"
    )
    _ends_with(two, before, Moved(came_back=(1, 1), forwarded=(1, 0)))


def test_mail_from_the_forwarding_address_is_not_forwarded_back_to_it(
    two: tuple[Installation, Installation],
) -> None:
    left, right = two
    before = _moved(two)
    left.submit(right.news)
    _ends_with(two, before, Moved(came_back=(0, 1), forwarded=(0, 0)))


class Moved(Struct, frozen=True):
    """The numbers of messages that each installation of a pair got back and forwarded."""

    came_back: tuple[int, ...]
    forwarded: tuple[int, ...]

    def since(self, before: Moved) -> Moved:
        return Moved(
            tuple(map(operator.sub, self.came_back, before.came_back)),
            tuple(map(operator.sub, self.forwarded, before.forwarded)),
        )


def _moved(two: tuple[Installation, Installation]) -> Moved:
    return Moved(
        tuple(each.came_back() for each in two),
        tuple(each.count(EventType.FORWARDED) for each in two),
    )


def _ends_with(two: tuple[Installation, Installation], before: Moved, expected: Moved) -> None:
    """Wait for these numbers, and require that they do not change afterwards."""
    wait_until(
        lambda: _moved(two).since(before) == expected, f"it has moved: {expected}", PATIENCE_S
    )
    until = time.monotonic() + QUIET_S
    while time.monotonic() < until:
        assert _moved(two).since(before) == expected
        time.sleep(1)
