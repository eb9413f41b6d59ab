"""A message of which it is not known whether a server has it is sent again, or held."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from services.deliver.core.attempt.plan import FIRST_MS, Timing, as_outcome, hold, plan
from services.deliver.core.attempt.results import Deferred
from shared.stream.jobs import Job
from shared.topics.codec import decode_pack
from shared.topics.control import Order, Scope, Verb
from shared.topics.records import Envelope, EventType, OnDoubt
from tests.support.ordered_attempts import Place, idle, make_job, make_place

HOLD = OnDoubt.HOLD
MAIL_ID = "0" * 26
HELD_AT = 1_000


def doubtful(**more: object) -> Job:
    job = make_job(**more)  # type: ignore[arg-type]
    job.in_doubt = True
    return job


def waiting(place: Place) -> Envelope:
    """The envelope that was written to a delay topic."""
    ((_, outputs),) = place.settled.written
    (retry,) = [each for each in outputs if each.topic.startswith("mail.deferred.")]
    (message,) = decode_pack(retry.value, retry.headers)
    return message.envelope


def run(test: Callable[[Place], object], *jobs: Job) -> Place:
    async def go() -> Place:
        place = make_place()
        place.attempts.hand_out(list(jobs))
        await idle()
        result = test(place)
        if asyncio.iscoroutine(result):
            await result
        await idle()
        return place

    return asyncio.run(go())


def connect(place: Place) -> None:
    place.sender.connect()


def test_a_doubt_is_an_event_and_the_message_is_sent_again_unless_it_is_to_be_held() -> None:
    place = run(connect, doubtful())
    assert place.settled.kinds() == ["in_doubt", "delivered"]
    assert place.sender.sent == 1


def test_a_message_in_doubt_that_is_to_be_held_is_not_sent() -> None:
    place = run(connect, doubtful(on_doubt=HOLD))
    (event,) = place.settled.events()
    assert (event.type, event.data.held, place.sender.waiting) == (EventType.IN_DOUBT, True, 0)
    assert waiting(place).held_since_ms == place.clock.now_ms()


def test_a_held_message_waits_on_without_another_event() -> None:
    place = run(connect, make_job(on_doubt=HOLD, held_since_ms=HELD_AT))
    assert (place.settled.kinds(), place.sender.sent) == ([], 0)
    assert waiting(place).held_since_ms == HELD_AT


@pytest.mark.parametrize(
    ("order_at", "is_in_doubt", "kinds"),
    [
        (HELD_AT, False, ["delivered"]),
        (HELD_AT - 1, False, []),  # meant for an earlier doubt
        (HELD_AT, True, ["in_doubt"]),  # and this is a new one
    ],
)
def test_a_release_counts_for_the_doubts_before_it(
    order_at: int, is_in_doubt: bool, kinds: list[str]
) -> None:
    async def go() -> Place:
        place = make_place()
        place.order(Order(Verb.RELEASE, Scope(mail_id=MAIL_ID), "ann", "asked", order_at))
        job = make_job(on_doubt=HOLD, held_since_ms=HELD_AT)
        job.named, job.in_doubt = True, is_in_doubt
        place.attempts.hand_out([job])
        await idle()
        place.sender.connect()
        await idle()
        return place

    assert asyncio.run(go()).settled.kinds() == kinds


@pytest.mark.parametrize(
    ("verb", "kind"),
    [(Verb.CANCEL, "cancelled"), (Verb.EXPIRE, "expired"), (Verb.BOUNCE, "bounced")],
)
def test_an_operator_ends_a_held_message(verb: Verb, kind: str) -> None:
    async def go() -> Place:
        place = make_place()
        place.order(Order(verb, Scope(mail_id=MAIL_ID), "ann", "used up", HELD_AT))
        place.attempts.hand_out([make_job(on_doubt=HOLD, held_since_ms=HELD_AT)])
        await idle()
        return place

    place = asyncio.run(go())
    (event,) = place.settled.events()
    assert (event.type.value, event.data.author) == (kind, "ann")


def test_a_message_to_be_held_is_sent_only_after_its_name_is_on_record() -> None:
    job = make_job(on_doubt=HOLD)

    async def check(place: Place) -> None:
        place.sender.connect()
        await idle()
        ((asked, named),) = place.settled.named
        assert (asked, place.sender.sent, job.begun) == (job, 0, False)
        job.named = True
        named(True)
        await idle()
        place.sender.connect()

    place = run(check, job)
    assert (place.sender.sent, place.settled.kinds()) == (1, ["delivered"])


def test_a_message_whose_name_is_refused_is_left_to_its_new_owner() -> None:
    async def check(place: Place) -> None:
        place.sender.connect()
        await idle()
        place.settled.named[0][1](False)

    place = run(check, make_job(on_doubt=HOLD))
    assert (place.sender.sent, place.settled.written) == (0, [])


def test_a_server_that_does_not_answer_the_content_leaves_the_message_held_and_billed() -> None:
    envelope = replace(make_job().message.envelope, on_doubt=HOLD)
    outcome = Deferred("", "4.4.2", "network", "lost", "mx", "", "", dispatched=True, in_doubt=True)
    timing = Timing(HELD_AT)
    found = as_outcome(envelope, plan(envelope, outcome, timing), timing)
    (event,) = found.events
    assert (event.kind, event.data.held) == (EventType.IN_DOUBT, True)
    assert event.data.first_dispatch
    assert found.retry is not None
    assert (found.retry.held_since_ms, found.retry.attempts.count) == (HELD_AT, 1)


def test_a_held_message_is_looked_at_every_minute_then_every_five_and_at_its_expiry() -> None:
    envelope = replace(make_job().message.envelope, held_since_ms=HELD_AT)
    late_ms = HELD_AT + FIRST_MS
    cases = [(HELD_AT, 0, "1m", 60_000), (late_ms, 0, "5m", 300_000), (HELD_AT, 3_000, "1m", 2_000)]
    for now_ms, expires_at_ms, step, wait_ms in cases:
        found = hold(replace(envelope, expires_at_ms=expires_at_ms), Timing(now_ms))
        assert found.retry is not None
        assert (found.step, found.retry.due_at_ms - now_ms) == (step, wait_ms)
