"""What an operator's order does to a message."""

from typing import Any

import pytest
from msgspec.structs import replace

from services.deliver.core.attempt.plan import Timing
from services.deliver.core.attempt.retry import RetryTimes
from services.deliver.core.control.effects import follow, next_look, reason_of
from shared.topics.control import MAX_TEXT_CHARS, Order, Scope, Verb
from shared.topics.records import Attempts, Envelope, EventType, Facts, Origin

NOW = 1_795_467_600_000
MINUTE = 60_000
MAIL = Envelope("M1", "shop", "a@b", "x@example.net", "<1@b>", NOW - 5, Origin(), Facts())
TRIED = replace(MAIL, attempts=Attempts(2, NOW - 3, "451 later", "4.7.1"), expires_at_ms=NOW * 2)


def order(verb: Verb, **fields: Any) -> Order:
    return Order(verb, Scope(domain="example.net"), "ann", "they asked", NOW, **fields)


@pytest.mark.parametrize(
    ("verb", "kind", "reason"),
    [
        (Verb.CANCEL, EventType.CANCELLED, "Cancelled by ann (domain example.net): they asked"),
        (Verb.BOUNCE, EventType.BOUNCED, "Bounced by ann (domain example.net): they asked"),
        (Verb.EXPIRE, EventType.EXPIRED, "Expired by ann (domain example.net): they asked"),
    ],
)
def test_a_final_verb_ends_the_message_with_one_event_that_names_the_author_and_bills_nothing(
    verb: Verb, kind: EventType, reason: str
) -> None:
    steps = follow(TRIED, order(verb), Timing(NOW))
    [event] = steps.events
    assert (steps.retry, event.kind) == (None, kind)
    assert (event.data.author, event.data.reason) == ("ann", reason)
    assert (event.data.reply, event.data.enhanced, event.data.attempt) == ("451 later", "4.7.1", 2)
    assert not event.data.first_dispatch
    assert event.data.first_dispatched_at_ms == NOW - 3
    # The class would count against the recipient, who did nothing.
    assert event.data.bounce_class == ""


def test_a_suspended_message_waits_without_an_attempt() -> None:
    steps = follow(TRIED, order(Verb.SUSPEND), Timing(NOW))
    [event] = steps.events
    assert event.kind is EventType.DEFERRED
    assert event.data.author == "ann"
    assert event.data.attempt == 2
    assert steps.retry is not None
    assert steps.retry == replace(TRIED, due_at_ms=steps.retry.due_at_ms)
    assert event.data.next_attempt_at_ms == steps.retry.due_at_ms
    assert steps.step == "1m"


@pytest.mark.parametrize(
    ("age_min", "step", "minutes"),
    [(0, "1m", 1), (9, "1m", 1), (10, "5m", 5), (31, "15m", 15), (120, "1h", 60), (9999, "1h", 60)],
)
def test_the_steps_grow_with_the_age_of_the_suspension(
    age_min: int, step: str, minutes: int
) -> None:
    now = NOW + age_min * MINUTE
    found = next_look("M1", order(Verb.SUSPEND), Timing(now))
    assert found.step == step
    assert minutes * MINUTE <= found.due_at_ms - now <= minutes * MINUTE * 1.2


def test_messages_suspended_together_come_back_spread_over_time() -> None:
    ends = order(Verb.SUSPEND, expires_at_ms=NOW + 10_000)
    for each, width_ms in ((order(Verb.SUSPEND), 12_000), (ends, 60_000)):
        dues = sorted(next_look(f"M{n}", each, Timing(NOW)).due_at_ms for n in range(1_000))
        per_tenth = [0] * 10
        for due in dues:
            per_tenth[min(9, (due - dues[0]) * 10 // width_ms)] += 1
        assert min(per_tenth) > 50
        assert max(per_tenth) < 200


def test_a_suspension_that_ends_soon_holds_the_message_no_longer_than_a_minute_after_it() -> None:
    ends = order(Verb.SUSPEND, expires_at_ms=NOW + 20_000)
    found = next_look("M1", ends, Timing(NOW))
    assert NOW + 20_000 <= found.due_at_ms <= NOW + 80_000


def test_a_suspended_message_is_read_at_its_expiry_which_ends_it() -> None:
    steps = follow(replace(MAIL, expires_at_ms=NOW + 5_000), order(Verb.SUSPEND), Timing(NOW))
    assert steps.retry is not None
    assert steps.retry.due_at_ms == NOW + 5_000


def test_the_time_scale_of_tests_applies() -> None:
    found = next_look("M1", order(Verb.SUSPEND), Timing(NOW, RetryTimes(0.01)))
    assert found.due_at_ms - NOW <= 720


def test_a_clock_that_was_set_back_does_no_harm() -> None:
    assert next_look("M1", order(Verb.SUSPEND), Timing(NOW - 50 * MINUTE)).step == "1m"


def test_an_order_without_an_author_or_reason_is_still_explained_and_a_long_one_is_cut() -> None:
    plain = Order(Verb.BOUNCE, Scope(lane="bulk"))
    assert reason_of(plain) == "Bounced by an operator (lane bulk)"
    assert len(reason_of(replace(plain, reason="x" * 1_000))) == MAX_TEXT_CHARS
