"""Which messages a monthly quota lets pass, and how far beyond it a quota can go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.validate.core.batch import Judged, assemble
from services.validate.core.quotas import SLACK_MS, QuotaUse, enforce, released, used_up
from services.validate.core.verdict import Held, Passed, Refused, Verdict
from shared.registry.client import Client, Code, OverQuota, limits_of
from shared.topics.quotas import QuotaBeat, QuotaScope, QuotaState
from shared.topics.records import Envelope, EventType, Facts, Message, Origin

SHOP, SOUTH = QuotaScope("shop"), QuotaScope("shop", "south")
BEGINS, ENDS = 1_000_000_000, 2_000_000_000
NOW = 1_500_000_000


class Known:
    """What billing is said to have counted."""

    def __init__(self, counted_to_ms: int | None = NOW) -> None:
        self.is_ready = True
        self.states: dict[QuotaScope, QuotaState] = {}
        self.counted_to_ms = counted_to_ms

    def use(self, scope: QuotaScope, used: int) -> None:
        self.states[scope] = QuotaState("2026-11", BEGINS, ENDS, 10, used)

    def ready(self) -> bool:
        return self.is_ready

    def state(self, scope: QuotaScope) -> QuotaState | None:
        return self.states.get(scope)

    def beat(self) -> QuotaBeat | None:
        if self.counted_to_ms is None:
            return None
        return QuotaBeat("2026-11", BEGINS, ENDS, self.counted_to_ms)


def client(quota: int = 10, south: int = 0, over: OverQuota = OverQuota.HOLD) -> Client:
    codes = {"s": Code("news", "south", monthly_quota=south)}
    return Client(
        "shop", "a.example", "b@c.example", "news", codes, monthly_quota=quota, over_quota=over
    )


def passed(number: int, sub_client: str = "") -> list[Judged]:
    found = []
    for each in range(number):
        envelope = Envelope(
            f"id{each}", "shop", "a@a.example", "b@x.example", "", NOW, Origin(), Facts(),
            "news", sub_client,
        )  # fmt: skip
        found.append(Judged(Message(envelope, b"x"), Passed(envelope)))
    return found


def verdicts(judged: list[Judged], of: Client, use: QuotaUse, now_ms: int = NOW) -> list[Verdict]:
    return [one.verdict for one in enforce(judged, {"shop": of}.get, use, now_ms)]


def kinds(found: list[Verdict]) -> list[str]:
    return [type(each).__name__ for each in found]


@pytest.mark.parametrize(
    ("over", "kind"),
    [(OverQuota.HOLD, "Held"), (OverQuota.REFUSE, "Refused"), (OverQuota.WARN, "Passed")],
)
def test_what_happens_over_the_quota_is_what_the_client_says(over: OverQuota, kind: str) -> None:
    known = Known()
    known.use(SHOP, 8)
    found = verdicts(passed(4), client(over=over), QuotaUse(known))
    assert kinds(found) == ["Passed", "Passed", kind, kind]


def test_a_refusal_names_the_quota() -> None:
    use, refusing = QuotaUse(_used(SOUTH, 5)), client(0, 5, OverQuota.REFUSE)
    (found,) = verdicts(passed(1, "south"), refusing, use)
    assert isinstance(found, Refused)
    (broken,) = found.event.rules
    assert (broken.rule, broken.status) == ("quota", "5.7.1")
    assert broken.reason == "The monthly quota of shop/south, 5 messages, is used up"


def test_the_quota_of_a_sub_client_stops_no_other() -> None:
    use = QuotaUse(_used(SOUTH, 5))
    found = verdicts([*passed(1, "south"), *passed(1, "north")], client(100, 5), use)
    assert kinds(found) == ["Held", "Passed"]


def _used(scope: QuotaScope, number: int) -> Known:
    known = Known()
    known.use(scope, number)
    return known


@pytest.mark.parametrize(
    ("known", "now_ms", "quota", "kind"),
    [
        (_used(SHOP, 10), NOW, 10, "Held"),
        (_used(SHOP, 10), NOW, 11, "Passed"),  # raised
        (_used(SHOP, 10), ENDS - 1, 10, "Held"),
        (_used(SHOP, 10), ENDS, 10, "Passed"),  # a new month
        (Known(None), NOW, 10, "Passed"),  # billing has never counted
    ],
)
def test_a_new_month_and_a_raised_quota_let_mail_pass(
    known: Known, now_ms: int, quota: int, kind: str
) -> None:
    assert kinds(verdicts(passed(1), client(quota), QuotaUse(known), now_ms)) == [kind]


def test_what_passed_here_counts_until_billing_has_surely_counted_it() -> None:
    known = Known()
    use = QuotaUse(known)
    use.add({("shop", "news", ""): 10}, NOW)
    assert kinds(verdicts(passed(1), client(), use)) == ["Held"]
    known.counted_to_ms = NOW + SLACK_MS - 1
    assert kinds(verdicts(passed(1), client(), use)) == ["Held"]
    known.counted_to_ms = NOW + SLACK_MS
    assert kinds(verdicts(passed(1), client(), use)) == ["Passed"]


def test_what_passed_in_the_month_before_counts_no_more() -> None:
    known = Known(None)
    known.counted_to_ms = ENDS - 60_000
    use = QuotaUse(known)
    use.add({("shop", "news", ""): 10}, ENDS - 1)
    assert kinds(verdicts(passed(1), client(), use, ENDS - 1)) == ["Held"]
    assert kinds(verdicts(passed(1), client(), use, ENDS)) == ["Passed"]


@given(
    st.integers(1, 60),
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30), st.booleans()), max_size=40),
)
def test_processes_pass_at_most_the_rest_that_each_of_them_saw(
    quota: int, processes: int, turns: list[tuple[int, int, bool]]
) -> None:
    """N processes exceed a quota by (N - 1) times what was left at the last count."""
    known = Known()
    uses = [QuotaUse(known) for _ in range(processes)]
    now_ms, total, counted_last = NOW, 0, 0
    for process, number, is_counted in turns:
        use = uses[process % processes]
        found = kinds(verdicts(passed(number), client(quota), use, now_ms)).count("Passed")
        use.add({("shop", "news", ""): found}, now_ms)
        total += found
        assert total - counted_last <= processes * max(0, quota - counted_last)
        now_ms += 1_000
        if is_counted:
            known.use(SHOP, total)
            now_ms += SLACK_MS
            known.counted_to_ms = now_ms
            counted_last = total


def test_one_process_never_exceeds_a_quota_though_nobody_counts() -> None:
    use, total = QuotaUse(Known()), 0
    for _ in range(5):
        found = kinds(verdicts(passed(4), client(10), use)).count("Passed")
        use.add({("shop", "news", ""): found}, NOW)
        total += found
    assert total == 10


def test_what_one_process_remembers_is_bounded_and_forgets_nothing() -> None:
    use = QuotaUse(Known(BEGINS))
    for second in range(5_000):
        use.add({("shop", "news", ""): 1}, NOW + second * 1000)
    limit = limits_of(client(10_000))[SHOP]
    assert use.left(SHOP, limit, NOW + 5_000_000) == 5_000


def test_held_mail_is_not_received_and_stays_as_it_was_submitted() -> None:
    judged = enforce(passed(1), {"shop": client()}.get, QuotaUse(_used(SHOP, 10)), NOW)
    assert isinstance(judged[0].verdict, Held)
    batch = assemble(judged, {}, NOW)
    assert (batch.received, batch.sent, batch.passed) == ({}, {}, {})
    assert batch.held == [judged[0].message]
    ((kind, mail_id, event),) = batch.events
    assert (kind, mail_id) == (EventType.HELD, "id0")
    assert event.reason == "The monthly quota of shop, 10 messages, is used up"


def test_the_time_of_a_released_message_begins_when_it_is_released() -> None:
    message = passed(1)[0].message
    assert released(message, NOW + 5).envelope.due_at_ms == NOW + 5
    later = replace(message.envelope, due_at_ms=NOW + 9)
    assert released(Message(later, b"x"), NOW + 5).envelope == later


def test_a_quota_that_is_used_up_is_known_with_its_number() -> None:
    use = QuotaUse(_used(SHOP, 10))
    assert used_up([client()], use, NOW) == {(SHOP, 10)}
    assert used_up([client(11)], use, NOW) == frozenset()
    assert used_up([client(over=OverQuota.REFUSE)], use, NOW) == frozenset()


@pytest.mark.parametrize(
    ("of", "is_known"),
    [
        (client(), False),
        (client(0, 5), False),
        (client(over=OverQuota.WARN), True),
        (client(0), True),
        (None, True),
    ],
)
def test_quotas_that_were_not_read_yet_delay_only_clients_that_enforce_one(
    of: Client | None, is_known: bool
) -> None:
    known = Known()
    known.is_ready = False
    assert QuotaUse(known).is_known([of]) is is_known
    known.is_ready = True
    assert QuotaUse(known).is_known([of])
