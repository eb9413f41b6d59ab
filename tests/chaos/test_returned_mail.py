"""Faults while mail comes back: validate is paused past its session and killed, Redis is emptied.

With all faults, each message is counted at most once against its recipient, a forged report
suppresses nobody, and a suppressed recipient gets no mail. Each report is forwarded once, also a
report of the deliver service about its own bounce. After Redis was emptied, its restored data is
the same, byte for byte.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from random import Random

import pytest

from shared.responses.counting.counting import decode_counter
from shared.responses.counting.merging import Source, decode_place
from shared.settings.sections import RedisSettings
from shared.store.client import connect
from shared.stream.client import ClientOptions
from shared.stream.log_reader import LogReader
from shared.topics.names import EVENTS, SUPPRESSIONS
from shared.topics.suppressions import Suppression, decode_suppression, field_of
from tests.support.chaos import returned
from tests.support.chaos.fleet import Fleet
from tests.support.chaos.scenario import PAST_SESSION_S
from tests.support.chaos.stage import Stage
from tests.support.chaos.witnesses import SinkJournal
from tests.support.patience import PATIENCE_S

MESSAGES = 240
LONG_MESSAGES = 400
RATE_PER_S = 60
# The maximum age of the view of suppressed recipients (docs/suppressions.md).
VIEW_AGE_S = 5.0
SETTINGS = RedisSettings()


class Play:
    """One run, with the faults that can occur in it."""

    def __init__(self, stage: Stage, seed: int, messages: int) -> None:
        self.stage = stage
        self.fleet = Fleet(stage)
        self.random = Random(seed)
        self.run = stage.open_run(f"returned-{seed}", seed)
        self.plan = returned.plan(self.run.name, seed, messages)
        self.is_long = messages == LONG_MESSAGES
        settings = RedisSettings(url=stage.stack.endpoints.redis)
        self.redis = connect(settings, decode_responses=False)

    def faults(self) -> list[Callable[[], None]]:
        """Return every fault once, in a random order; a short run has only one pause."""
        pauses = [self.pause_one, self.pause_all]
        pauses = pauses if self.is_long else [self.random.choice(pauses)]
        found = [*pauses, self.kill, self.empty_redis]
        return self.random.sample(found, len(found))

    def pause_one(self) -> None:
        name = self.random.choice(self.fleet.members("validate"))
        self.fleet.pause([name], PAST_SESSION_S, self.run)

    def pause_all(self) -> None:
        self.fleet.pause(self.fleet.members("validate"), PAST_SESSION_S, self.run)

    def kill(self) -> None:
        self.fleet.kill(self.random.choice(self.fleet.members("validate")))
        self.fleet.start("validate")

    def empty_redis(self) -> None:
        self.redis.flushall()

    def entries(self) -> list[Suppression]:
        """Return the entries of this run on mail.suppressions."""
        found = []
        options = ClientOptions(self.stage.bootstrap, "test")
        with closing(LogReader(options, SUPPRESSIONS)) as reader:
            ends = reader.ends([0])
            reader.read_from({0: 0})
            while not reader.has_reached(ends):
                for record in reader.poll(100).get(0, ()):
                    entry = decode_suppression(record.value) if record.value else None
                    if isinstance(entry, Suppression) and entry.client in self.run.clients:
                        found.append(entry)
        return found

    def suppressed(self) -> set[tuple[str, str, str]]:
        return {(each.client, each.recipient, each.reason.value) for each in self.entries()}

    def hard(self) -> dict[tuple[str, str], int]:
        """Return the hard bounces of the recipients of the plan, as they are counted now."""
        found = {}
        for client, recipient in self.plan.hard:
            value = self.redis.hget(SETTINGS.counters_key, field_of(client, recipient))
            found[client, recipient] = len(decode_counter(value).hard) if value else 0  # type: ignore[arg-type]
        return found

    def held(self) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
        """Return the counters and the suppressed recipients in Redis."""
        return (  # type: ignore[return-value]
            self.redis.hgetall(SETTINGS.counters_key),
            self.redis.hgetall(SETTINGS.suppressions_key),
        )

    def is_counted(self) -> bool:
        """Return True if the counters include all records."""
        place = decode_place((self.redis.hget(SETTINGS.counters_key, "place") or b"").decode())  # type: ignore[union-attr]
        options = ClientOptions(self.stage.bootstrap, "test")
        for topic in (EVENTS, SUPPRESSIONS):
            with closing(LogReader(options, topic)) as reader:
                ends = reader.ends(reader.partitions())
                reader.read_from({each: place.get(Source(topic, each), 0) for each in ends})
                while not reader.has_reached(ends):
                    if any(reader.poll(100).values()):
                        return False
        return True

    def forwarded(self) -> list[str]:
        """Return the Message-IDs that the forwarding addresses of this run got."""
        journal = SinkJournal(self.stage.stack.sink_journal)
        return [
            line.message_id
            for client in self.run.clients
            for line in journal.lines(f"back@{client}.example.org")
            if line.verdict == "accepted"
        ]

    def wait(self, is_there: Callable[[], bool]) -> None:
        self.stage.wait_for(self.run, is_there, PATIENCE_S)


@pytest.fixture
def play(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Callable[[int, int], Play]]:
    begun: list[Play] = []

    def begin(seed: int, messages: int) -> Play:
        begun.append(Play(stage, seed, messages))
        begun[-1].fleet.start("validate")
        begun[-1].fleet.wait_ready()
        return begun[-1]

    yield begin
    for each in begun:
        each.fleet.reset()
        each.redis.close()


def test_nobody_counts_twice_and_nobody_suppressed_gets_mail(
    play: Callable[[int, int], Play], one_seed: int
) -> None:
    perform(play(one_seed, MESSAGES))


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_the_same_with_many_seeds(play: Callable[[int, int], Play], seed: int) -> None:
    perform(play(seed, LONG_MESSAGES))


def perform(play: Play) -> None:
    come_back(play)
    send_mail(play)
    # Redis was emptied, so the counters are counted again, but mail does not wait for this.
    play.wait(lambda: play.hard() == play.plan.hard)
    play.wait(play.is_counted)
    before = play.held()
    play.empty_redis()
    play.wait(lambda: play.held() == before)


def come_back(play: Play) -> None:
    """Publish the returned mail while all faults occur."""
    plan = play.plan
    parts = returned.parts(plan.returned)
    faults = play.faults()
    for number, part in enumerate(parts):
        returned.publish(play.stage.bootstrap, part)
        if faults and number * 4 >= len(parts) * (4 - len(faults)):
            faults.pop()()
    play.wait(lambda: play.suppressed() >= plan.suppressed)
    play.wait(lambda: play.hard() == plan.hard)
    assert play.suppressed() == plan.suppressed
    entries = [(each.client, each.recipient, each.mail_id) for each in play.entries()]
    assert len(set(entries)) == len(entries)
    play.wait(lambda: len(play.forwarded()) >= len(plan.returned))
    assert len(set(play.forwarded())) == len(play.forwarded()) == len(plan.returned)


def send_mail(play: Play) -> None:
    """Send mail to all recipients while all faults occur."""
    in_force_at = time.monotonic() + VIEW_AGE_S
    play.wait(lambda: time.monotonic() >= in_force_at)
    injector = play.run.inject_these(play.plan.submissions, RATE_PER_S)
    faults = play.faults()
    for number, fault in enumerate(faults, 1):
        injector.wait_for(len(play.plan.submissions) * number // 6, PATIENCE_S)
        fault()
    play.stage.finish(play.run, injector)
    expected = len(play.plan.returned) + play.plan.bounces
    play.wait(lambda: len(play.forwarded()) >= expected)
    assert len(set(play.forwarded())) == len(play.forwarded()) == expected
