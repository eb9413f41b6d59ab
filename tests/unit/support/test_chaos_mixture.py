"""The chaos suite's messages: the same for the same seed, and each with its declared fate."""

from __future__ import annotations

from collections import Counter

import pytest

from local.sink.behaviour import dot_delay_s
from shared.mail.headers import scan
from shared.submission.rules import Submission, judge
from shared.topics.records import EventType
from tests.support.chaos import mixture
from tests.support.chaos.stage import MAX_IN_FLIGHT

RUN = "unit"
COUNT = 2_000
CODES = frozenset(sender.code for sender in mixture.senders(RUN) if sender.code)


def test_a_seed_makes_the_same_messages_again_and_another_seed_others() -> None:
    first = list(mixture.mix(RUN, 7, 200))
    assert first == list(mixture.mix(RUN, 7, 200))
    assert first != list(mixture.mix(RUN, 8, 200))


def test_message_ids_and_recipients_are_used_once() -> None:
    promises = [submission.promise for submission in mixture.mix(RUN, 7, COUNT)]
    assert len({promise.message_id for promise in promises}) == COUNT
    assert len({promise.rcpt for promise in promises}) == COUNT
    assert all(promise.rcpt.endswith(mixture.recipient_suffix(RUN)) for promise in promises)


def test_every_fate_and_every_cell_occurs() -> None:
    promises = [submission.promise for submission in mixture.mix(RUN, 7, COUNT)]
    fates = Counter(promise.rcpt.partition("-")[0] for promise in promises)
    assert set(fates) == {"ok", "defer", "bounce", "policy", "broken", "blocked"}
    assert len({promise.cell for promise in promises}) == len(mixture.senders(RUN))


@pytest.mark.parametrize("fates", [mixture.SLOW_FATES, mixture.SLOWEST_FATES])
def test_slow_destinations_are_a_small_share(fates: tuple[mixture.Fate, ...]) -> None:
    assert sum(fate.weight for fate in fates) == sum(fate.weight for fate in mixture.FATES)
    found = list(mixture.mix(RUN, 7, COUNT, fates=fates))
    late_s = [dot_delay_s(submission.promise.rcpt) for submission in found]
    assert set(late_s) == {0.0} | {dot_delay_s(fate.prefix) for fate in fates}
    # The messages that wait for their destination on average, at 150 messages per second.
    assert 150 * sum(late_s) / COUNT < MAX_IN_FLIGHT / 2


def test_the_rules_refuse_exactly_the_messages_that_must_be_refused() -> None:
    for submission in mixture.mix(RUN, 7, COUNT):
        facts = scan(submission.content)
        assert facts.defect == ""
        assert facts.message_id == submission.promise.message_id
        domain = next(
            sender.domain
            for sender in mixture.senders(RUN)
            if sender.client == submission.promise.client
        )
        handed_in = Submission(
            sending_domain=domain,
            sender=facts.from_address,
            recipient=facts.to_address,
            codes=CODES,
            max_size_bytes=307_200,
        )
        broken = judge(facts, handed_in)
        refused = submission.promise.expected is EventType.REFUSED
        assert bool(broken) == refused, (broken, submission.content)
