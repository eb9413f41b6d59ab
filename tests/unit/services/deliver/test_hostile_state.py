"""What Redis, key files, policies and orders may hold, and no message suffers from."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from services.deliver.core.attempt.plan import Timing
from services.deliver.core.control.effects import follow
from services.deliver.core.shaping.suspensions import LEAST_FACTOR, LONGEST_S, Suspension
from services.deliver.core.tls.sts import parse_policy
from services.deliver.edge.shaping.lease_client import Stores
from services.deliver.edge.signing.signer import KeyFollower
from shared.mailauth.dkim_keys import folder
from shared.mailauth.dkim_keys.folder import KeyFault, make_key
from shared.mailauth.dkim_keys.table import KeyEntry, KeyTableError, parse_table
from shared.store.suspensions import SharedState
from shared.topics.control import Order, Scope, Verb
from shared.topics.records import Envelope, EventType, Facts, Origin
from tests.support.limited_workers import LimitedWorker
from tests.support.memory_limits import MemoryLeases, MemoryStates
from tests.support.virtual_loop import run_virtually

NOW = 1_795_467_600_000
FORWARDED = Envelope(
    "F1",
    "shop",
    "",
    "r@shop.example",
    "",
    NOW,
    Origin(),
    Facts(),
    lane="default",
    forwards="M1",
    expires_at_ms=NOW * 2,
)


@pytest.mark.parametrize("verb", [Verb.BOUNCE, Verb.CANCEL, Verb.EXPIRE])
def test_an_order_ends_forwarded_mail_and_not_the_message_that_it_is_about(verb: Verb) -> None:
    [event] = follow(FORWARDED, Order(verb, Scope(client="shop"), at_ms=NOW), Timing(NOW)).events
    assert (event.kind, event.data.return_id) == (EventType.FORWARDING_FAILED, "F1")


def test_suspended_forwarded_mail_waits_without_an_event() -> None:
    steps = follow(FORWARDED, Order(Verb.SUSPEND, Scope(client="shop"), at_ms=NOW), Timing(NOW))
    assert steps.events == ()
    assert steps.retry is not None


@pytest.mark.timeout(20)
def test_a_policy_with_a_long_line_of_spaces_is_read_at_once() -> None:
    head = b"version: STSv1\nmode: enforce\nmax_age: 1000\nmx: a.example \nx: y"
    assert parse_policy(head + b" " * 60_000 + b"z\n").mx == ("a.example",)


class Spoiled(MemoryStates):
    """States of suspensions, one of which is something else."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    async def exchange(self, state: SharedState | None = None) -> list[str]:
        return [*await super().exchange(state), self.text]


@pytest.mark.parametrize("text", ["garbage", '{"key":"k"}', "[" * 5_000, "\u20ac"])
def test_a_suspension_that_is_none_stops_no_limit(text: str) -> None:
    async def send() -> int:
        stores = Stores(MemoryLeases(asyncio.get_running_loop().time), Spoiled(text))
        worker = LimitedWorker("w", "messages = '200/s'", stores)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(worker.working())
            await asyncio.sleep(15)
        return len(worker.sent)

    assert run_virtually(send()) > 1_000


@pytest.mark.parametrize(
    ("factor", "kept"), [(-3.0, LEAST_FACTOR), (0.0, LEAST_FACTOR), (0.5, 0.5), (1e9, 1.0)]
)
def test_a_suspension_in_redis_neither_stops_a_limit_nor_lifts_it(
    factor: float, kept: float
) -> None:
    state = Suspension("k", 1.0, factor=factor, lasted_s=1e12, strikes=-5).within_bounds()
    assert (state.factor, state.lasted_s, state.strikes) == (kept, LONGEST_S, 0)


@pytest.mark.parametrize("text", ["x = " + "[" * 5_000, "x = " + "9" * 5_000])
def test_a_table_of_keys_that_is_no_toml_is_a_fault_of_the_table(text: str) -> None:
    with pytest.raises(KeyTableError):
        parse_table(text)


def test_a_key_that_could_not_be_read_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.add_keys(tmp_path, [(KeyEntry("s1", "s1.pem"), make_key("ed25519-sha256", 0))])
    keys = KeyFollower(str(tmp_path))
    folder.add_keys(tmp_path, [(KeyEntry("s2", "s2.pem"), make_key("ed25519-sha256", 0))])

    def denied(path: Path) -> None:
        raise KeyFault("Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(folder, "load_key", denied)
        keys.refresh()
    keys.refresh()
    chosen = keys.index.choose("c", "d.example", 2_000_000_000)
    assert [key.entry.selector for key in chosen] == ["s2"]
