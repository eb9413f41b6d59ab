"""Bounces counted from a real Kafka into a real Redis, in one order and exactly once."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from random import Random

import pytest
from msgspec.structs import replace

from shared.responses.counting.counting import decode_counter
from shared.responses.counting.incidents import IncidentPolicy
from shared.runtime.failpoints import RESPONSES_NAMES, Failpoints
from shared.runtime.lifecycle import Stop
from shared.settings.sections import KafkaSettings, RedisSettings
from shared.store.client import connect
from shared.stream.admin import ensure_topics
from shared.topics import names
from shared.topics.control import Review, ReviewVerdict
from shared.topics.suppressions import FIELD_BYTES
from tests.support.counting_bench import CountingBench, facts, random_seed
from tests.support.patience import PATIENCE_S
from tests.support.smtp_peers import wait_until


@pytest.fixture
def bench(kafka_bootstrap: str, redis_url: str) -> Iterator[CountingBench]:
    client = connect(RedisSettings(url=redis_url), decode_responses=False)
    stem = f"test.counting.{time.time_ns()}.{os.urandom(3).hex()}"
    bench = CountingBench(kafka_bootstrap, client, stem)
    plans = [names.TopicPlan(bench.events, 4, {}), names.TopicPlan(bench.suppressions, 1, {})]
    stamped = {"message.timestamp.type": "LogAppendTime"}
    plans = [names.TopicPlan(each.name, each.partitions, stamped) for each in plans]
    ensure_topics(
        KafkaSettings(bootstrap=kafka_bootstrap),
        [*plans, names.TopicPlan(f"{stem}.control", 1, {})],
    )
    yield bench
    client.close()


def test_recipients_over_a_limit_are_suppressed_and_others_are_not(bench: CountingBench) -> None:
    with bench.counting():
        bench.publish(
            [
                *(("bounced-hard", "h@x.example", f"h{n}") for n in range(3)),
                ("bounced-soft", "s@x.example", "s1"),
                ("delivered", "s@x.example", "s2"),
                ("bounced-soft", "s@x.example", "s3"),
                ("bounced-soft", "t@x.example", "t1"),
                ("expired-soft", "T@X.example", "t2"),
                *(("bounced-policy", "p@x.example", f"p{n}") for n in range(5)),
                ("bounced-hard", "d@x.example", "d1"),
                *(("returned-hard", "d@x.example", "d1") for n in range(4)),
                ("complained", "c@x.example", "c1"),
                ("unsubscribed", "u@x.example", "u1"),
            ]
        )
        found = {(each.recipient, each.reason.value) for each in bench.entries(4)}
        assert found == {
            ("h@x.example", "hard_bounces"),
            ("t@x.example", "soft_bounces"),
            ("c@x.example", "complaint"),
            ("u@x.example", "unsubscribed"),
        }
        # The counters of a batch are stored after its entries are written.
        bench.settle()
        counts = [bench.counts(f"{name}@x.example") for name in "hsdp"]
        assert counts == [(3, 0), (0, 1), (1, 0), (0, 0)]
        bench.publish([("reset", "h@x.example", "")])
        wait_until(lambda: bench.counts("h@x.example") == (0, 0), "it is reset", PATIENCE_S)


def test_counters_are_the_same_after_redis_was_emptied_and_no_entry_is_written_again(
    bench: CountingBench,
) -> None:
    seed = random_seed()
    bench.publish(facts(Random(seed), 400))
    bench.publish([("bounced-hard", "last@x.example", "last")])
    with bench.counting():
        wait_until(lambda: bench.counts("last@x.example") == (1, 0), "all is counted", PATIENCE_S)
        before, written = bench.settle()
        for _ in range(2):
            bench.client.delete(bench.key)
            wait_until(lambda: bench.state() == before, f"the same, seed {seed}", PATIENCE_S)
        assert len(bench.entries(written)) == written


def test_a_second_process_takes_over_where_the_first_one_ended(bench: CountingBench) -> None:
    history = facts(Random(random_seed()), 200)
    with bench.counting("one"), bench.counting("two"):
        bench.publish(history[:100])
        bench.publish([("bounced-hard", "half@x.example", "half")])
        wait_until(lambda: bench.counts("half@x.example") == (1, 0), "half", PATIENCE_S)
    with bench.counting("three"):
        bench.publish(history[100:])
        bench.publish([("bounced-hard", "last@x.example", "last")])
        wait_until(lambda: bench.counts("last@x.example") == (1, 0), "all", PATIENCE_S)
        before, written = bench.settle()
        bench.client.delete(bench.key)
        wait_until(lambda: bench.state() == before, "the same counters", PATIENCE_S)
        assert len(bench.entries(written)) == written


def test_bounces_of_an_incident_are_held_until_they_are_accepted_and_counted_again_alike(
    bench: CountingBench,
) -> None:
    bench = replace(bench, policy=IncidentPolicy(6, 50, 600_000))
    spike = [("bounced-hard", f"r{n % 3}@x.example", f"m{n}") for n in range(15)]
    whole = Review("x.example", 0, 1 << 52, ReviewVerdict.COUNTED)
    with bench.counting():
        # Counted below the threshold only: five bounces of three recipients.
        bench.publish([*spike, ("complained", "c@x.example", "c")])
        assert [each.reason.value for each in bench.entries(1)] == ["complaint"]
        state, written = bench.settle()
        assert bench.counts("r2@x.example") == (1, 0)
        bench.client.delete(bench.key)
        wait_until(lambda: bench.state() == state, "the same after a loss", PATIENCE_S)
        bench.review(whole)
        wait_until(lambda: bench.counts("r2@x.example") == (5, 0), "they count", PATIENCE_S)
        accepted, _ = bench.settle()
        bench.client.delete(bench.key)
        wait_until(lambda: bench.state() == accepted, "the same, reviewed", PATIENCE_S)
        bench.review(replace(whole, active=False))
        wait_until(lambda: bench.state() == state, "as before the review", PATIENCE_S)
        assert len(bench.entries(written)) == written


def test_an_excluded_window_does_not_count_also_for_the_next_process(bench: CountingBench) -> None:
    history = facts(Random(random_seed()), 100)
    bench.publish([*history, ("bounced-hard", "last@x.example", "last")])
    with bench.counting("one"):
        wait_until(lambda: bench.counts("last@x.example") == (1, 0), "counted", PATIENCE_S)
        before, written = bench.settle()
    bench.review(Review("x.example", 0, 1 << 52))
    with bench.counting("two"):
        wait_until(lambda: bench.counts("last@x.example") == (0, 0), "excluded", PATIENCE_S)
        after, _ = bench.settle()
        assert set(after) <= set(before)
        left = [decode_counter(after[field]) for field in after if len(field) == FIELD_BYTES]
        assert not [each for each in left if each.hard or each.soft]
        assert len(bench.entries(written)) == written


class Died(BaseException):
    """The process ended."""


def die(_name: str) -> None:
    raise Died


def test_a_process_that_dies_at_any_point_counts_nothing_twice_and_misses_nothing(
    bench: CountingBench,
) -> None:
    seed = random_seed()
    random = Random(seed)
    points = random.sample(RESPONSES_NAMES, len(RESPONSES_NAMES))
    for point in points:
        bench.publish(facts(random, 40))
        worker = bench.worker("one", Failpoints.parse(point, die))
        with pytest.raises(Died):
            worker.run(Stop())
    with bench.counting("one"):
        state, written = bench.settle()
        entries = bench.entries(written)
        assert written
        assert len({(each.recipient, each.mail_id) for each in entries}) == written
        bench.client.delete(bench.key)
        assert bench.settle() == (state, written)
