"""The steps of a source that warms up: when a day counts, and what follows from it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.deliver.core.reputation.facts import Result
from services.deliver.core.reputation.warmup import DAY_MS, Steps, counted, judged, warming
from services.deliver.core.shaping.keys import Destination, Party
from services.deliver.core.shaping.limits import Limit
from services.deliver.core.shaping.parsing import ShapingFaults, combine, parse_file
from services.deliver.core.shaping.rules import Rules
from services.deliver.core.shaping.throttle import Throttle
from services.deliver.core.shaping.warming import Schedule, schedule_of
from services.deliver.core.shaping.workers import Workers
from services.deliver.edge.shaping.loading import load_rules
from shared.topics.reputation import WarmupState

SCHEDULE = Schedule((50, 100, 200), 0.5, 0.95, 0.8, "test")
GOOGLE = Destination("gmail.com", "g", "google")
SMALL = Destination("r.example", "mx.r.example")
BASE = '[warmup]\ndays = [50, 100, 200]\nenough = "50%"\npasses = "95%"\nfalls = "80%"\n'


def rules(text: str) -> Rules:
    return combine([parse_file(BASE, "shipped"), parse_file(text, "own")])


@pytest.mark.parametrize(
    ("step", "delivered", "failed", "after"),
    [
        (0, 50, 0, 1),
        (0, 48, 2, 1),  # 96 %
        (0, 47, 3, 0),  # 94 %: again
        (1, 70, 30, 0),  # 70 %: a step back
        (0, 10, 40, 0),  # there is none before the first one
        (1, 49, 0, 1),  # fewer than half of 100: the day does not count
        (1, 50, 0, 2),
        (2, 200, 0, 3),  # warm
    ],
)
def test_a_day_counts_by_what_was_sent_and_delivered(
    step: int, delivered: int, failed: int, after: int
) -> None:
    state = WarmupState("mx3", "google", step, 1_000, delivered, failed)
    assert judged(state, SCHEDULE, 1_000 + DAY_MS - 1) is state, "the day is not over"
    assert judged(state, SCHEDULE, 1_000 + DAY_MS) == WarmupState("mx3", "google", after)


def test_a_warm_source_stays_warm_and_one_without_mail_where_it_is() -> None:
    warm = WarmupState("mx3", "google", 3, 1_000, 0, 500)
    assert judged(warm, SCHEDULE, 99 * DAY_MS) is warm
    idle = WarmupState("mx3", "google", 1)
    assert judged(idle, SCHEDULE, 99 * DAY_MS) is idle


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=30))
def test_a_source_moves_by_one_step_a_day_and_forward_only_by_delivered_mail(
    days: list[tuple[int, int]],
) -> None:
    state, now = WarmupState("mx3", "google"), 1_000
    for delivered, failed in days:
        before = state.step
        for result, number in ((Result.DELIVERED, delivered), (Result.BLOCKED, failed)):
            if number:
                state = counted(state, result, now, number)
        now += DAY_MS
        state = judged(state, SCHEDULE, now)
        assert abs(state.step - before) <= 1
        if state.step > before:
            assert delivered >= 0.95 * (delivered + failed)
            assert delivered + failed >= SCHEDULE.days[before] / 2
        if before >= len(SCHEDULE.days):
            assert state.step == before


def test_a_complaint_says_nothing_of_the_address() -> None:
    state = WarmupState("mx3", "google")
    assert counted(state, Result.COMPLAINED, 5) is state


@pytest.mark.parametrize(
    ("text", "provider", "days"),
    [
        ("[source.mx3]\nwarmup = true", "google", (50, 100, 200)),
        ("[source.mx3]\nwarmup = true", "", (50, 100, 200)),
        ("[source.mx3]\nwarmup = [7, 9]", "google", (7, 9)),
        ("[source.mx3]\nwarmup = false", "google", None),
        ("[source.mx2]\nwarmup = true", "google", None),
        ("[source.mx3]\nwarmup = true\n[source.mx3.provider.google]\nwarmup = [5]", "google", (5,)),
        (
            "[source.mx3]\nwarmup = true\n[source.mx3.provider.google]\nwarmup = false",
            "google",
            None,
        ),
        ("[source.mx3.provider.other]\nwarmup = [3]", "", (3,)),
        ("[source.mx3]\nwarmup = true\n[warmup.provider.google]\ndays = [8]", "google", (8,)),
    ],
)
def test_the_schedule_of_a_source_at_a_provider(
    text: str, provider: str, days: tuple[int, ...] | None
) -> None:
    found = schedule_of(rules(text), "mx3", provider)
    assert (found.days if found else None) == days


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[source.mx3]\nwarmup = 3", "own: source.mx3.warmup: found 3, expected true, false or"),
        ("[source.mx3]\nwarmup = []", "expected true, false or the messages of each day"),
        ("[source.mx3]\nwarmup = [100, 50]", "none smaller than the one before"),
        ("[source.mx3]\nwarmup = [0]", "each from 1 to"),
        ("[warmup]\npasses = 95", "warmup.passes: found 95, expected a percentage"),
        ('[warmup]\npasses = "101%"', "expected a percentage"),
        ("[warmup]\nday = [1]", "warmup.day: found no such setting, expected one of days"),
        ("[client.shop]\nwarmup = true", "client.shop.warmup: found no such setting"),
    ],
)
def test_a_fault_names_the_key_what_was_found_and_what_is_expected(text: str, fault: str) -> None:
    with pytest.raises(ShapingFaults) as caught:
        parse_file(text, "own")
    assert fault in str(caught.value)


def test_the_shipped_schedule_is_complete() -> None:
    shipped = load_rules()
    assert schedule_of(shipped, "mx3", "google") is None, "no source warms up unasked"
    assert shipped.table("warmup").keys() == {"days", "enough", "passes", "falls"}


def test_a_limit_of_a_source_is_kept_beside_its_warm_up() -> None:
    text = "[source.mx3]\nmessages = '9/s'\n[source.mx3.provider.google]\nwarmup = true"
    sender = Party("shop", "news", "news.example.com", "mx3")
    limits = {each.key: str(each.limit) for each in rules(text).limits(GOOGLE, sender)}
    assert limits["source:mx3@provider:google"] == "9/s"


def test_the_limit_of_a_source_follows_its_step() -> None:
    throttle = Throttle(rules("[source.mx3]\nwarmup = true"), Workers(1, 0.0))
    sender = Party("shop", "news", "news.example.com", "mx3")

    def limit(to: Destination) -> Limit | None:
        warmup = throttle.group(to, sender, 0.0).warmup
        return warmup.limit if warmup else None

    assert limit(GOOGLE) == Limit(50, 86_400, True)
    throttle.steps.replace([WarmupState("mx3", "google", 1), WarmupState("mx3", "other", 3)])
    assert limit(GOOGLE) == Limit(100, 86_400, True)
    assert limit(SMALL) is None, "warm"
    override = Destination("r.example", "relay", is_override=True)
    assert limit(override) is None, "an operator's own relay needs no warm-up"


def test_what_is_shown_as_warming() -> None:
    states = [WarmupState("mx3", "google", 2), WarmupState("mx3", "other", 3)]
    assert warming(states, rules("[source.mx3]\nwarmup = true")) == states[:1]
    assert Steps().limit(rules(""), "mx3", GOOGLE) is None
