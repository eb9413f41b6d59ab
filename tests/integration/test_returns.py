"""Returned mail read from a real Kafka: one event and one forwarded mail for each, exactly once."""

from __future__ import annotations

import email
import email.policy
import os
import time
from collections import Counter
from random import Random

import pytest
from msgspec.structs import replace

from cli.audit.command import audit
from services.validate.core.returns.windows import Policy
from shared.audit.report import FaultKind
from shared.runtime.clock import FakeClock
from shared.runtime.failpoints import RETURNS_NAMES, Failpoints
from shared.runtime.lifecycle import Stop
from shared.stream.client import ClientOptions
from shared.stream.transactions import Output
from shared.topics import names
from shared.topics.records import EventType, Message, Returned
from tests.support.counting_bench import random_seed
from tests.support.patience import PATIENCE_S
from tests.support.returned_mail import (
    ANNA,
    AT_MS,
    SHOP,
    delivery_report,
    feedback_report,
    letter,
    to_return_path,
)
from tests.support.returns_bench import ReturnsBench
from tests.support.smtp_peers import wait_until

HOUR_S = 3_600
Mail = list[tuple[Returned, bytes]]


@pytest.fixture
def bench(kafka_bootstrap: str) -> ReturnsBench:
    bench = ReturnsBench(kafka_bootstrap, f"test.returns.{time.time_ns()}.{os.urandom(3).hex()}")
    bench.create_topics()
    return bench


def bounces(first: int, number: int) -> Mail:
    return [(to_return_path(each), delivery_report(ANNA)) for each in range(first, first + number)]


def is_digest(message: Message) -> bool:
    return message.envelope.forwards == message.envelope.mail_id


def held(message: Message) -> int:
    """The number of messages that a digest speaks of."""
    mail = email.message_from_bytes(message.content, policy=email.policy.default)
    return int(str(mail["Subject"]).split()[-2].replace(",", ""))


def test_each_kind_of_returned_mail_is_an_event_and_is_forwarded(bench: ReturnsBench) -> None:
    mail = [
        (to_return_path(1), delivery_report(ANNA)),
        (to_return_path(2), delivery_report("forged@people.example")),
        (to_return_path(3), feedback_report(ANNA)),
        (to_return_path(4), letter(ANNA, "unsubscribe", "unsubscribe")),
        (to_return_path(5), letter(ANNA, "Re: Spring", headers="In-Reply-To: <a@b>\n")),
        (replace(to_return_path(6), client="gone"), delivery_report(ANNA)),
    ]
    bench.publish(mail)
    bench.publish_record(Output("", b"not returned mail", b"shop", (), 0))
    with bench.working():
        wait_until(lambda: len(bench.events()) == 6, "all are read", PATIENCE_S)
        wait_until(lambda: bench.refused() == 1, "the odd record is refused", PATIENCE_S)
    found = {
        (each.type, each.data.client, each.data.recipient, each.data.bounce_class)
        for each in bench.events()
    }
    assert found == {
        (EventType.RETURNED, "shop", ANNA, "hard"),
        (EventType.RETURNED, "shop", "", ""),
        (EventType.COMPLAINED, "shop", ANNA, ""),
        (EventType.UNSUBSCRIBED, "shop", ANNA, ""),
        (EventType.RETURNED, "gone", ANNA, "hard"),
    }
    # A transaction ends on each topic by itself.
    wait_until(lambda: len(bench.forwarded()) >= 5, "all are forwarded", PATIENCE_S)
    assert {each.envelope.mail_id for each in bench.forwarded()} == {
        returned.return_id for returned, _ in mail[:5]
    }


def test_mail_beyond_the_limit_is_in_one_digest_whichever_process_writes_it(
    bench: ReturnsBench,
) -> None:
    bench = replace(bench, policy=Policy(2, HOUR_S * 1000))
    clock = FakeClock(AT_MS)
    with bench.working("one", clock):
        bench.publish(bounces(1, 3))
        wait_until(lambda: len(bench.events()) == 3, "the first are read", PATIENCE_S)
    with bench.working("two", clock):
        bench.publish(bounces(4, 3))
        wait_until(lambda: len(bench.events()) == 6, "the rest are read", PATIENCE_S)
        assert len(bench.forwarded()) == 2
        clock.go_on(HOUR_S)
        wait_until(lambda: len(bench.forwarded()) == 3, "the digest is written", PATIENCE_S)
        bench.publish(bounces(7, 1))
        wait_until(lambda: len(bench.forwarded()) == 4, "a new window begins", PATIENCE_S)
        clock.go_on(HOUR_S)
        bench.publish(bounces(8, 1))
        wait_until(lambda: len(bench.forwarded()) == 5, "and another", PATIENCE_S)
    digests = [each for each in bench.forwarded() if is_digest(each)]
    assert [held(each) for each in digests] == [4]
    wait_until(lambda: len(bench.events()) >= 8, "the events are there", PATIENCE_S)
    assert len(bench.events()) == 8


class Died(BaseException):
    """The process ended."""


def die(_name: str) -> None:
    raise Died


def test_a_process_that_dies_at_any_point_writes_nothing_twice_and_loses_nothing(
    bench: ReturnsBench,
) -> None:
    bench = replace(bench, policy=Policy(5, HOUR_S * 1000))
    clock = FakeClock(AT_MS)
    random = Random(random_seed())
    published = 0
    for point in random.sample(RETURNS_NAMES, len(RETURNS_NAMES)):
        bench.publish(bounces(published + 1, 3), partition=published % 2)
        published += 3
        worker = bench.worker("one", Failpoints.parse(point, die), clock)
        with pytest.raises(Died):
            worker.run(Stop())
    with bench.working("one", clock):
        wait_until(lambda: len(bench.events()) >= published, "all are read", PATIENCE_S)
        clock.go_on(HOUR_S)
        wait_until(lambda: sum(map(is_digest, bench.forwarded())) == 2, "digests", PATIENCE_S)
    ids = Counter(each.id for each in bench.events())
    assert len(ids) == published
    assert set(ids.values()) == {1}
    forwarded = Counter(each.envelope.mail_id for each in bench.forwarded())
    assert set(forwarded.values()) == {1}
    digests = [each for each in bench.forwarded() if is_digest(each)]
    singly = len(forwarded) - len(digests)
    assert singly == 10  # 5 per partition
    assert singly + sum(map(held, digests)) == published
    assert faults(bench) == {}


def faults(bench: ReturnsBench) -> dict[FaultKind, list[str]]:
    """What `sluice audit --settled` finds."""
    options = ClientOptions(bench.bootstrap, "test")
    report = audit(options, settled=True, topic=bench.topic(names.EVENTS), returned=bench.books())
    assert report.balanced == (not report.faults)
    return {each.kind: each.examples for each in report.faults}


def test_the_audit_names_returned_mail_that_waits_is_lost_or_has_two_events(
    bench: ReturnsBench,
) -> None:
    bench.publish(bounces(1, 2))
    with bench.working():
        wait_until(lambda: len(bench.events()) == 2, "all are read", PATIENCE_S)
    assert faults(bench) == {}
    mail = bounces(3, 1)
    bench.publish(mail)
    assert faults(bench) == {FaultKind.WAITING_RETURNED: []}
    bench.skip_returned()
    assert faults(bench) == {FaultKind.LOST_RETURNED: [mail[0][0].return_id]}
    first = bench.events()[0]
    bench.publish_event(first)
    found = faults(bench)
    assert found[FaultKind.DOUBLED_RETURNED] == [first.data.return_id]


def test_processes_that_read_at_the_same_time_write_one_event_each_between_them(
    bench: ReturnsBench,
) -> None:
    with bench.working("validate"):
        bench.publish(bounces(1, 3))
        with bench.working("responses"):
            for partition in range(4):
                bench.publish(bounces(4 + 3 * partition, 3), partition=partition)
            wait_until(lambda: len(bench.events()) >= 15, "all are read by both", PATIENCE_S)
        bench.publish(bounces(16, 3), partition=3)
        wait_until(lambda: len(bench.events()) >= 18, "the rest is read by one", PATIENCE_S)
    ids = Counter(each.id for each in bench.events())
    assert (len(ids), set(ids.values())) == (18, {1})
    wait_until(lambda: len(bench.forwarded()) >= 18, "all are forwarded", PATIENCE_S)
    assert len(bench.forwarded()) == 18


def test_a_client_that_wants_no_bounces_still_has_their_events(bench: ReturnsBench) -> None:
    bench = replace(bench, client=replace(SHOP, returns=()))
    answer = letter(ANNA, "Re: x", headers="References: <a@b>\n")
    bench.publish([*bounces(1, 2), (to_return_path(3), answer)])
    with bench.working():
        wait_until(lambda: len(bench.events()) == 3, "all are read", PATIENCE_S)
    wait_until(lambda: len(bench.forwarded()) >= 1, "the answer is forwarded", PATIENCE_S)
    assert len(bench.forwarded()) == 1
