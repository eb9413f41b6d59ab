"""Which events are copied to the client's own topic, and the form of the copy."""

import pytest
from msgspec.structs import replace

from services.deliver.core.attempt.plan import Timing, expire, plan
from services.deliver.core.attempt.results import Bounced, Deferred, Delivered, Outcome
from services.deliver.edge.attempt.attempt_records import records_of
from services.validate.core.lanes import Lanes
from services.validate.core.verdict import Passed, Policy, judge
from shared.registry.client import Client
from shared.stream import outputs
from shared.topics import names
from shared.topics.records import Envelope, EventType, Facts, MailEvent, Origin

NOW = 1_700_000_000_000
CLIENT = Client("shop", "news.shop.example", "back@owner.example", "standard")
ENVELOPE = Envelope(
    mail_id="0" * 26,
    client="shop",
    sender="a@news.shop.example",
    recipient="b@example.com",
    message_id="<1@shop>",
    received_at_ms=NOW - 5_000,
    origin=Origin("mail.intake.shop", 0, 1),
    facts=Facts(
        message_id_count=1,
        message_id="<1@shop>",
        to_count=1,
        to_address="b@example.com",
        from_count=1,
        from_address="a@news.shop.example",
        subject_count=1,
        subject_empty=False,
    ),
)
DELIVERED = Delivered(reply="250 ok", enhanced="2.0.0", site="mx", source="s", tls="")
DEFERRED = Deferred("451 later", "4.7.1", "soft", "later", "mx", "s", "", True, True)
BOUNCED = Bounced("550 no", "5.1.1", "hard", "unknown", "mx", "s", "", True)
OWN = names.own_events("shop")


def test_a_copy_is_the_event_but_for_its_topic() -> None:
    told = outputs.event("deliver", EventType.DELIVERED, "m", MailEvent("shop"))
    copy = outputs.client_copy(told, "shop")
    assert copy.topic == OWN == "mail.events.shop"
    assert copy[1:] == told[1:]


@pytest.mark.parametrize("outcome", [DELIVERED, DEFERRED, BOUNCED])
def test_deliver_copies_every_event_of_a_marked_message_and_not_the_message(
    outcome: Outcome,
) -> None:
    steps = plan(ENVELOPE, outcome, Timing(NOW))
    plain = records_of(steps, ENVELOPE, b"x")
    copied = records_of(steps, replace(ENVELOPE, own_events=True), b"x")
    events = [one for one in plain if one.topic == names.EVENTS]
    assert len(events) == len(steps.events)
    assert [one for one in copied if one.topic != OWN] == plain
    assert [one for one in copied if one.topic == OWN] == [
        outputs.client_copy(one, "shop") for one in events
    ]


def test_an_expiry_is_copied_too() -> None:
    marked = replace(ENVELOPE, own_events=True)
    topics = [one.topic for one in records_of(expire(marked, NOW), marked, b"x")]
    assert topics == [names.EVENTS, OWN, names.RETURNED]


def test_a_message_on_its_way_to_another_attempt_stays_marked() -> None:
    marked = replace(ENVELOPE, own_events=True)
    retry = plan(marked, DEFERRED, Timing(NOW)).retry
    assert retry is not None
    assert retry.own_events


@pytest.mark.parametrize("own_events", [False, True])
def test_validate_marks_what_it_passes_as_the_client_wants_it(own_events: bool) -> None:
    client = replace(CLIENT, own_events=own_events)
    # A different mark from before is overwritten.
    before = replace(ENVELOPE, own_events=not own_events)
    verdict = judge(before, client, Policy(307_200, Lanes({})), NOW)
    assert isinstance(verdict, Passed)
    assert verdict.envelope.own_events is own_events


def test_the_topic_is_laid_out_as_the_intake_and_kept_for_35_days() -> None:
    plan_ = names.client_events_plan("shop")
    assert plan_.name == OWN
    assert plan_.partitions == names.intake_plan("shop").partitions
    assert plan_.configs["retention.ms"] == str(35 * 86_400_000)
