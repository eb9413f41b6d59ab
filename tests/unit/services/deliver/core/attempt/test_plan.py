import pytest
from msgspec.structs import replace

from services.deliver.core.attempt.plan import (
    Timing,
    expire,
    has_expired,
    plan,
    subject_of,
    wait,
)
from services.deliver.core.attempt.results import Bounced, Deferred, Delivered, Outcome
from services.deliver.core.attempt.retry import STEPS, RetryTimes, next_attempt
from shared.topics.records import Attempts, Envelope, EventType, Facts, Origin
from shared.topics.retry_topics import DELAYS_S, JITTER_SHARE

NOW = 1_700_000_000_000
ENVELOPE = Envelope(
    mail_id="0" * 26,
    client="shop",
    sender="a@news.shop.example",
    recipient="b@example.com",
    message_id="<1@shop>",
    received_at_ms=NOW - 5_000,
    origin=Origin("mail.intake.shop", 0, 1),
    facts=Facts(size_bytes=300),
    mailing_id="spring",
    sub_client="de",
    lane="default",
    expires_at_ms=NOW + 86_400_000,
)


def delivered() -> Delivered:
    return Delivered(reply="250 ok", enhanced="2.0.0", site="mx", source="s", tls="")


def deferred(dispatched: bool = True, in_doubt: bool = False) -> Deferred:
    return Deferred(
        reply="451 later",
        enhanced="4.7.1",
        bounce_class="soft",
        reason="later",
        site="mx",
        source="s",
        tls="",
        dispatched=dispatched,
        in_doubt=in_doubt,
    )


def bounced(dispatched: bool = True) -> Bounced:
    return Bounced(
        reply="550 unknown",
        enhanced="5.1.1",
        bounce_class="hard",
        reason="unknown",
        site="mx",
        source="s",
        tls="",
        dispatched=dispatched,
    )


def kinds(envelope: Envelope, outcome: Outcome) -> list[tuple[EventType, bool]]:
    steps = plan(envelope, outcome, Timing(NOW))
    return [(told.kind, told.data.first_dispatch) for told in steps.events]


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (delivered(), [(EventType.DELIVERED, True)]),
        (bounced(), [(EventType.BOUNCED, True)]),
        (bounced(dispatched=False), [(EventType.BOUNCED, False)]),
        (deferred(), [(EventType.DEFERRED, True)]),
        (deferred(dispatched=False), [(EventType.DEFERRED, False)]),
        (deferred(in_doubt=True), [(EventType.IN_DOUBT, False), (EventType.DEFERRED, True)]),
    ],
)
def test_the_event_of_the_first_attempt_that_reached_a_server_is_the_billed_one(
    outcome: Outcome, expected: list[tuple[EventType, bool]]
) -> None:
    assert kinds(ENVELOPE, outcome) == expected


@pytest.mark.parametrize("outcome", [delivered(), bounced(), deferred(), deferred(in_doubt=True)])
def test_a_later_attempt_is_never_billed_again(outcome: Outcome) -> None:
    later = replace(ENVELOPE, attempts=Attempts(1, NOW - 1_000))
    assert not any(first for _, first in kinds(later, outcome))
    for told in plan(later, outcome, Timing(NOW)).events:
        assert told.data.attempt == 2
        assert told.data.first_dispatched_at_ms == NOW - 1_000


def test_a_deferred_message_carries_its_history_to_the_retry_topic() -> None:
    steps = plan(ENVELOPE, deferred(), Timing(NOW))
    assert steps.step == "1m"
    assert steps.retry is not None
    assert steps.retry.attempts == Attempts(1, NOW, "451 later", "4.7.1")
    assert steps.retry.due_at_ms == steps.events[0].data.next_attempt_at_ms > NOW


@pytest.mark.parametrize(
    ("waits_s", "step"),
    [
        (5.0, "turn-5s"),
        (14.9, "turn-5s"),
        (15.0, "turn-15s"),
        (60.0, "1m"),
        (72.0, "1m"),
        (73.0, "turn-45s"),
        (899.0, "turn-8m"),
        (3_600.0, "1h"),
        (43_200.0, "12h"),
    ],
)
def test_a_message_that_was_not_offered_waits_for_its_turn_and_keeps_its_history(
    waits_s: float, step: str
) -> None:
    before = Attempts(2, NOW - 9, "451 x", "4.0.0")
    outcome = replace(deferred(dispatched=False), waits_s=waits_s)
    steps = plan(replace(ENVELOPE, attempts=before), outcome, Timing(NOW))
    assert steps.step == step
    assert steps.retry is not None
    assert steps.retry.attempts == before
    assert steps.retry.due_at_ms == NOW + waits_s * 1000
    (told,) = steps.events
    assert (told.kind, told.data.attempt) == (EventType.DEFERRED, 2)


def test_a_turn_under_a_limit_is_told_from_every_other_wait() -> None:
    waiting = replace(deferred(dispatched=False), waits_s=90.0)
    turned = plan(ENVELOPE, replace(waiting, is_turn=True), Timing(NOW)).retry
    assert turned is not None
    assert turned.turn_at_ms == turned.due_at_ms == NOW + 90_000
    for other in (waiting, deferred(dispatched=False)):
        onward = plan(turned, other, Timing(NOW)).retry
        assert onward is not None
        assert onward.turn_at_ms != onward.due_at_ms


@pytest.mark.parametrize(
    ("left_s", "waits_s", "next_s"),
    [
        (180.0, 3_600.0, 90.0),
        (180.0, 180.0, 90.0),
        (180.0, 179.0, 90.0),
        (180.0, 130.0, 90.0),
        (180.0, 110.0, 110.0),
        (130.0, 110.0, 45.0),
        (7_200.0, 3_000.0, 3_000.0),
        (10.5, 3_600.0, 5.25),
        (10.0, 3_600.0, None),
        (-1.0, 3_600.0, None),
    ],
)
def test_a_message_whose_turn_may_come_after_its_expiry_comes_back_before_it(
    left_s: float, waits_s: float, next_s: float | None
) -> None:
    outcome = replace(deferred(dispatched=False), waits_s=waits_s)
    soon = replace(ENVELOPE, expires_at_ms=NOW + int(left_s * 1000))
    steps = plan(soon, outcome, Timing(NOW))
    found = steps.retry and (steps.retry.due_at_ms - NOW) / 1000
    assert found == next_s
    assert steps.events[0].kind is (EventType.EXPIRED if next_s is None else EventType.DEFERRED)


def test_only_a_deferral_goes_on() -> None:
    for outcome in (delivered(), bounced()):
        assert plan(ENVELOPE, outcome, Timing(NOW)).retry is None


def test_a_message_that_expires_before_its_next_attempt_is_expired_at_once() -> None:
    soon = replace(ENVELOPE, expires_at_ms=NOW + 10_000)
    steps = plan(soon, deferred(), Timing(NOW))
    assert steps.retry is None
    assert [(told.kind, told.data.first_dispatch) for told in steps.events] == [
        (EventType.EXPIRED, True)
    ]
    assert "later" in steps.events[0].data.reason


def test_a_message_past_its_time_is_not_attempted() -> None:
    late = replace(ENVELOPE, expires_at_ms=NOW, attempts=Attempts(3, NOW - 9, "451 x", "4.0.0"))
    assert has_expired(late, NOW)
    assert not has_expired(ENVELOPE, NOW)
    assert not has_expired(replace(ENVELOPE, expires_at_ms=0), NOW)
    (told,) = expire(late, NOW).events
    assert told.kind is EventType.EXPIRED
    assert (told.data.attempt, told.data.first_dispatch) == (3, False)
    assert told.data.reply == "451 x"


@pytest.mark.parametrize("attempts", range(1, 12))
def test_delays_follow_the_steps_with_bounded_jitter_and_the_last_repeats(attempts: int) -> None:
    retry = next_attempt("0" * 26, attempts, NOW, RetryTimes())
    assert retry.step == STEPS[min(attempts, len(STEPS)) - 1]
    delay_ms = DELAYS_S[retry.step] * 1000
    assert delay_ms <= retry.due_at_ms - NOW <= delay_ms * (1 + JITTER_SHARE)


def test_a_message_before_its_earliest_time_is_handed_on_without_an_event_or_an_attempt() -> None:
    early = replace(ENVELOPE, due_at_ms=NOW, not_before_ms=NOW + 5 * 3_600_000)
    steps = wait(early, Timing(NOW))
    assert steps.events == ()
    assert steps.step == "4h"
    assert steps.retry == replace(early, due_at_ms=NOW + 4 * 3_600_000)
    assert wait(early, Timing(NOW, RetryTimes(1 / 60))).step == "12h"


def test_two_messages_deferred_together_do_not_come_back_together() -> None:
    due = {next_attempt(f"{n:026d}", 1, NOW, RetryTimes()).due_at_ms for n in range(100)}
    assert len(due) > 90


@pytest.mark.parametrize(
    ("in_doubt_s", "attempts", "step"),
    [
        (600, 1, "15m"),
        (600, 3, "15m"),
        (600, 5, "4h"),
        (0, 1, "1m"),
        (60, 1, "1m"),
        (43_200, 1, "12h"),
    ],
)
def test_after_an_attempt_that_left_doubt_the_next_is_not_before_the_delay(
    in_doubt_s: float, attempts: int, step: str
) -> None:
    times = RetryTimes(in_doubt_s=in_doubt_s)
    retry = next_attempt("0" * 26, attempts, NOW, times, in_doubt=True)
    assert retry.step == step
    assert retry.due_at_ms >= NOW + in_doubt_s * 1000


def test_only_doubt_lengthens_a_delay() -> None:
    timing = Timing(NOW, RetryTimes(in_doubt_s=600))
    assert plan(ENVELOPE, deferred(), timing).step == "1m"
    assert plan(ENVELOPE, deferred(in_doubt=True), timing).step == "15m"


def test_every_event_carries_what_the_platform_gave_with_the_message() -> None:
    given = replace(
        ENVELOPE,
        submission_key="order-7",
        submission_source="/shop",
        code="SPRING26",
        metadata={"order": "7"},
    )
    plans = [plan(given, each, Timing(NOW)) for each in (delivered(), deferred(), bounced())]
    for event in [*(told for steps in plans for told in steps.events), *expire(given, NOW).events]:
        data = event.data
        assert (data.submission_id, data.submission_source) == ("order-7", "/shop")
        assert (data.code, data.metadata) == ("SPRING26", {"order": "7"})


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (delivered(), [(EventType.FORWARDED, False)]),
        (bounced(), [(EventType.FORWARDING_FAILED, False)]),
        (deferred(), []),
        (deferred(in_doubt=True), []),
    ],
)
def test_mail_to_a_forwarding_address_is_not_billed_and_only_its_end_is_an_event(
    outcome: Outcome, told: list[tuple[EventType, bool]]
) -> None:
    forwarded = replace(ENVELOPE, sender="", forwards="1" * 26)
    assert kinds(forwarded, outcome) == told
    assert subject_of(forwarded) == "1" * 26
    assert subject_of(ENVELOPE) == ENVELOPE.mail_id
    steps = plan(forwarded, outcome, Timing(NOW))
    assert [each.data.return_id for each in steps.events] == ["0" * 26] * len(told)
    assert (steps.retry is not None) is isinstance(outcome, Deferred)
    if steps.retry is not None:
        assert (steps.retry.forwards, steps.retry.sender) == ("1" * 26, "")


def test_mail_to_a_forwarding_address_that_expires_has_failed() -> None:
    steps = expire(replace(ENVELOPE, forwards="1" * 26), NOW)
    assert [each.kind for each in steps.events] == [EventType.FORWARDING_FAILED]
