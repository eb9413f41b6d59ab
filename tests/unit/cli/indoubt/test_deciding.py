"""What `sluice indoubt send` does if another command cancels the message at the same time."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from cli.control import topic
from cli.indoubt import command
from cli.queue.counting import Waiting
from cli.queue.reading import QueueReading
from shared.settings.sections import KafkaSettings
from shared.topics.control import Order, Scope, Verb, apply_record, decode_order, encode_order
from tests.support.stream_topics import envelope

ID = "01HZZZZZZZ0000000000000000"
CANCEL = Order(Verb.CANCEL, Scope(mail_id=ID), "ann", "sold out", 1)
HELD = Waiting("mail.deferred.1m", 0, 7, replace(envelope(ID), held_since_ms=5))


class Control(list[Order]):
    """The records of mail.control."""

    def __init__(self, cancelled_before_write: int) -> None:
        super().__init__()
        self._cancelled_before_write = cancelled_before_write
        self._writes = 0

    def read(self, _kafka: KafkaSettings) -> list[Order]:
        found: dict[bytes, Order] = {}
        for order in self:
            apply_record(found, *encode_order(order), decode_order)
        return list(found.values())

    def write(self, _kafka: KafkaSettings, orders: Iterable[Order]) -> None:
        self._writes += 1
        if self._writes == self._cancelled_before_write:
            self.append(CANCEL)
        self.extend(orders)


@pytest.mark.parametrize(
    ("cancelled_before_write", "code", "verbs", "said"),
    [
        (0, 0, [Verb.RELEASE], "released"),
        (1, 1, [Verb.CANCEL, Verb.RELEASE, Verb.CANCEL], "it ends as cancelled"),
    ],
)
def test_a_message_that_is_cancelled_meanwhile_is_not_released(
    cancelled_before_write: int,
    code: int,
    verbs: list[Verb],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    control = Control(cancelled_before_write)
    monkeypatch.setattr(command, "find_kafka", lambda *_: KafkaSettings())
    monkeypatch.setattr(QueueReading, "find", lambda *_: HELD)
    monkeypatch.setattr(topic, "read_orders", control.read)
    monkeypatch.setattr(command, "write_orders", control.write)
    done = CliRunner().invoke(command.main, ["send", ID, "--author", "bob"])
    assert (done.exit_code, [order.verb for order in control]) == (code, verbs)
    assert said in done.stdout
    assert ("ann" in done.stderr) is bool(code)  # it is said who has cancelled the message
