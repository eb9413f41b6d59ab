"""Pools that keep to limits and follow replies, with a real Redis and a scripted server."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from msgspec.structs import replace

from services.deliver.core.attempt.results import Deferred, Delivered, Outcome
from services.deliver.core.routing.sites import Routes
from services.deliver.core.shaping.parsing import combine, parse_file
from services.deliver.core.shaping.throttle import Throttle
from services.deliver.core.shaping.workers import Workers
from services.deliver.core.sources.table import read_sources
from services.deliver.edge.dns.resolver import Resolver
from services.deliver.edge.pool.pools import Pools, Routing
from services.deliver.edge.shaping.lease_client import Stores
from services.deliver.edge.shaping.shaper import Shaper
from services.deliver.edge.smtp.opening import Opener
from services.deliver.edge.sources.selecting import Sources
from services.deliver.sending import load_outcome_rules
from shared.runtime.clock import SystemClock
from shared.runtime.failpoints import Failpoints
from shared.runtime.telemetry import Counters
from shared.settings.redis import RedisSettings
from shared.store.client import NO_RETRY, connect_async
from shared.store.leases import LeaseStore
from shared.store.suspensions import SuspensionStore
from shared.topics.records import Envelope
from tests.support.patience import PATIENCE_S
from tests.support.pool_talk import CONTENT, ROOM, SETTINGS, envelope, until
from tests.support.pool_talk import run as run_within
from tests.support.recorded import Recorded
from tests.support.scripted_smtp import GOOD, scripted

SUSPENDING = """
[[reply]]
action = "suspend"
scope = "sending_domain"
for = "15min"
text = 'your domain'
example = "550 your domain is bad"
counter = "550 your address is bad"
"""


@asynccontextmanager
async def shaped(
    address: str, url: str, tag: str, rules: str, sources: Sources | None = None
) -> AsyncIterator[Pools]:
    client, counters = connect_async(RedisSettings(url=url), retry=NO_RETRY), Counters("test")
    throttle = Throttle(combine([parse_file(rules, "test")]), Workers(1, room=ROOM.messages))
    stores = Stores(LeaseStore(client, tag), SuspensionStore(client, tag))
    shaper = Shaper(throttle, stores, secrets.token_hex(4), SystemClock(), counters)
    opener = Opener("client.example.com", SETTINGS.timeouts, Failpoints.none())
    routing = Routing(Routes({"*": address}), Resolver(time.monotonic), sources=sources)
    pools = Pools(SETTINGS, ROOM, routing, opener, load_outcome_rules(), shaper=shaper)
    shaper.start()
    pools.start()
    try:
        yield pools
    finally:
        await pools.close()
        await shaper.close()
        await client.aclose()
        counters.close()


async def send(pools: Pools, recipient: str, client: str = "shop") -> Outcome:
    outcome = await pools.send(replace(envelope(recipient), client=client), CONTENT)
    assert outcome is not None
    return outcome


def waits(outcomes: list[Outcome]) -> list[float]:
    return [o.waits_s for o in outcomes if isinstance(o, Deferred) and o.waits_s is not None]


def new_tag() -> str:
    return f"{{limits:{secrets.token_hex(6)}}}"


def test_a_client_over_its_limit_gets_turns_and_stops_no_other(redis_url: str) -> None:
    async def run() -> None:
        rules = "[client.shop]\nmessages = '20/s'"
        async with (
            scripted(lambda _: GOOD) as server,
            shaped(server.address, redis_url, new_tag(), rules) as pools,
        ):
            many = [asyncio.ensure_future(send(pools, f"{n}@r.example")) for n in range(200)]
            others = [send(pools, f"{n}@r.example", "other") for n in range(100)]
            assert all(isinstance(each, Delivered) for each in await asyncio.gather(*others))
            assert any(not each.done() for each in many), "these wait for their limit"
            turns = waits(await asyncio.gather(*many))
        assert 100 <= len(turns) <= 150
        assert turns == sorted(turns)
        assert 5 <= turns[-1] <= 30, "150 messages at 20 per second at most, by the first estimate"

    run_within(run())


WARMING = """
[provider.big]
domains = ["r.example"]
[warmup]
days = [20, 40]
enough = "50%"
passes = "95%"
falls = "80%"
[source.new]
warmup = true
"""


async def send_200(redis_url: str, **addresses: str) -> list[Outcome]:
    """The outcomes of 200 messages that are sent at once from these sources."""
    named = {name: (f"{name}.example.com", address) for name, address in addresses.items()}
    sources = Sources(read_sources(named, {}, {}))
    async with (
        scripted(lambda _: GOOD) as server,
        shaped(server.address, redis_url, new_tag(), WARMING, sources) as pools,
    ):
        mails = (replace(envelope("a@r.example"), mail_id=f"{n:026}") for n in itertools.count())
        first = await until_sent_by(pools, mails, addresses["new"])
        rest = itertools.islice(mails, 199)
        found = await asyncio.gather(*(pools.send(each, CONTENT) for each in rest))
    return [first, *(each for each in found if each is not None)]


async def until_sent_by(pools: Pools, mails: Iterator[Envelope], address: str) -> Outcome:
    """Send single messages until one is sent from there: a new store grants nothing at first."""
    async with asyncio.timeout(PATIENCE_S):
        for each in mails:
            found = await pools.send(each, CONTENT)
            if isinstance(found, Delivered) and found.source == address:
                return found
            await asyncio.sleep(0.05)
    raise AssertionError


def test_a_source_that_warms_up_leaves_what_is_over_its_day_to_the_others_of_its_pool(
    redis_url: str,
) -> None:
    outcomes = run_within(send_200(redis_url, new="127.0.0.2", warm="127.0.0.3"))
    sent = Counter(each.source for each in outcomes if isinstance(each, Delivered))
    assert sum(sent.values()) == 200, "nothing waits"
    assert 10 <= sent["127.0.0.2"] <= 20
    assert sent.keys() == {"127.0.0.2", "127.0.0.3"}


def test_without_another_source_what_is_over_the_day_is_turned_away_and_does_not_wait_here(
    redis_url: str,
) -> None:
    outcomes = run_within(send_200(redis_url, new="127.0.0.2"))
    sent = [each for each in outcomes if isinstance(each, Delivered)]
    left = [each for each in outcomes if isinstance(each, Deferred)]
    assert len(sent) + len(left) == 200
    assert 10 <= len(sent) <= 20
    assert {each.reason.partition(":")[0] for each in left} == {"Over the limit of warmup"}
    assert all((each.waits_s or 0) >= 600 for each in left[-100:]), "not before the day is over"


def test_a_suspended_sending_domain_is_not_tried_again_by_any_worker(redis_url: str) -> None:
    async def run() -> None:
        tag = new_tag()
        script = {"RCPT": b"550 5.7.1 your domain is bad\r\n", "DATA": b"503 no\r\n"}
        async with (
            scripted(lambda _: script) as server,
            shaped(server.address, redis_url, tag, SUSPENDING) as one,
            shaped(server.address, redis_url, tag, SUSPENDING) as other,
        ):
            first = await send(one, "a@r.example")
            assert not waits([first]), "it was attempted"
            turns = waits([await send(one, f"{n}@r.example") for n in range(3)])
            assert len(turns) == 3
            assert 890 <= turns[0] <= turns[1] <= turns[2]
            async with asyncio.timeout(60):
                while not waits([await send(other, "b@r.example")]):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)

    run_within(run())


def test_a_message_whose_destination_is_suspended_while_it_is_got_ready_is_not_offered(
    redis_url: str,
) -> None:
    async def run() -> None:
        script = {"RCPT": b"550 5.7.1 your domain is bad\r\n", "DATA": b"503 no\r\n"}
        async with (
            scripted(lambda _: script) as server,
            shaped(server.address, redis_url, new_tag(), SUSPENDING) as pools,
        ):
            slow = Recorded()
            task = asyncio.create_task(pools.send(envelope("slow@r.example"), CONTENT, slow))
            await until(lambda: slow.ready is not None)
            await send(pools, "a@r.example")
            slow.record()
            outcome = await task
            assert isinstance(outcome, Deferred)
            assert waits([outcome]), "it was not offered"
            assert slow.has_begun, "its attempt has ended"

    run_within(run())


def test_mail_that_waited_before_its_window_was_known_to_be_used_up_is_turned_away(
    redis_url: str,
) -> None:
    async def run() -> None:
        rules = "[client.shop]\nmessages = '2 in 1h'"
        async with (
            scripted(lambda _: GOOD) as server,
            shaped(server.address, redis_url, new_tag(), rules) as pools,
        ):
            found = await asyncio.gather(*(send(pools, f"{n}@r.example") for n in range(12)))
            assert sum(isinstance(each, Delivered) for each in found) == 2
            assert all(
                each.reason.startswith("Over") for each in found if isinstance(each, Deferred)
            )
            assert len(waits(found)) == 10

    run_within(run())


def test_mail_of_a_lane_with_one_destination_waits_for_the_window_of_the_destination(
    redis_url: str,
) -> None:
    async def run() -> None:
        rules = "[provider.big]\ndomains = ['r.example']\nmessages = '2 in 1h'"
        async with (
            scripted(lambda _: GOOD) as server,
            shaped(server.address, redis_url, new_tag(), rules) as pools,
        ):
            of_lane = [replace(envelope(f"{n}@r.example"), lane="big") for n in range(6)]
            many = [asyncio.ensure_future(pools.send(each, CONTENT)) for each in of_lane]
            others = [asyncio.ensure_future(send(pools, f"{n}@r.example")) for n in range(6)]
            # When the sweep has turned away the mail of the lane `default`, it has seen both.
            await asyncio.wait(others)
            delivered = [each for each in (*many, *others) if each.done() and is_delivered(each)]
            assert len(delivered) == 2
            assert all(is_delivered(each) for each in many if each.done())
            assert any(not each.done() for each in many), "the lane is read more slowly instead"

    run_within(run())


def is_delivered(task: asyncio.Future[Outcome] | asyncio.Future[Outcome | None]) -> bool:
    return isinstance(task.result(), Delivered)
