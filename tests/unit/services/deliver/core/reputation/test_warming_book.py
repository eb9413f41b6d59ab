"""The steps of sources that the book of reputations counts, and its limits of number."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from services.deliver.core.reputation.book import Book
from services.deliver.core.reputation.facts import Fact, Result
from services.deliver.core.shaping.parsing import combine, parse_file
from shared.topics.control import Scope
from shared.topics.reputation import State, WarmupState

NOW = 1_800_000_000_000
DAY = 86_400_000
D, B = Result.DELIVERED, Result.BOUNCED


def fact(result: Result, client: str = "shop") -> Fact:
    return Fact(result, client, "a@r.example", "google", "192.0.2.1", "marketing", NOW)


def none(_scope: Scope) -> bool:
    return False


WARMUP = """
[warmup]
days = [4, 8]
enough = "50%"
passes = "75%"
falls = "50%"
[source.new]
warmup = true
"""


def warming_book(*states: State) -> Book:
    return Book(
        combine([parse_file(WARMUP, "test")]),
        {"192.0.2.1": "new", "192.0.2.2": "old"},
        states,
    )


def counted_book() -> Book:
    """A book with one message of `shop`."""
    found = warming_book()
    found.count([fact(D)], NOW)
    return found


def sent(delivered: int, failed: int, source: str = "192.0.2.1") -> list[Fact]:
    results = [D] * delivered + [B] * failed
    return [replace(fact(result), source=source) for result in results]


@pytest.mark.parametrize(
    ("delivered", "failed", "step"),
    [(4, 0, 2), (3, 1, 2), (2, 1, 1), (1, 3, 0), (0, 9, 0), (3, 0, 1)],
)
def test_a_source_takes_the_step_that_its_day_earned(
    delivered: int, failed: int, step: int
) -> None:
    one = warming_book(WarmupState("new", "google", 1))
    one.count(sent(delivered, failed), NOW)
    one.judge(none, NOW + DAY - 1)
    assert one.sources["new", "google"].step == 1, "its day is not over"
    one.judge(none, NOW + DAY)
    assert one.sources["new", "google"].step == step
    assert one.take_changed()[b"warmup/new/google"] == one.sources["new", "google"]


def test_only_sources_that_warm_up_are_counted_each_at_its_provider() -> None:
    one = warming_book()
    one.count(sent(2, 0) + sent(5, 0, "192.0.2.2") + sent(5, 0, "198.51.100.9"), NOW)
    one.count([replace(each, provider="") for each in sent(1, 1)], NOW)
    found = {pair: (each.delivered, each.failed) for pair, each in one.sources.items()}
    assert found == {("new", "google"): (2, 0), ("new", "other"): (1, 1)}


def test_a_source_that_does_not_warm_up_any_more_stays_where_it_was() -> None:
    state = WarmupState("old", "google", 1, since_ms=1, delivered=100)
    one = warming_book(state)
    one.judge(none, NOW)
    assert one.sources["old", "google"] == state
    assert not one.take_changed()


def test_too_many_clients_are_counted_as_dropped_and_those_that_are_known_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("services.deliver.core.reputation.book.MAX_CLIENTS", 2)
    one = counted_book()
    one.count([fact(D, "bank"), fact(D, "third"), fact(D, "third"), fact(D, "shop")], NOW)
    assert {client for client, _ in one.clients} == {"shop", "bank"}
    assert one.clients["shop", "google"].slots[0].delivered == 2
    assert [one.take_dropped(), one.take_dropped()] == [2, 0]


def test_too_many_sources_are_not_counted_and_those_that_are_known_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("services.deliver.core.reputation.book.MAX_SOURCES", 1)
    one = warming_book()
    one.count(sent(1, 0), NOW)
    one.count([replace(each, provider="gmx") for each in sent(5, 0)] + sent(1, 0), NOW)
    assert {pair: each.delivered for pair, each in one.sources.items()} == {("new", "google"): 2}


def test_the_class_of_a_client_is_the_one_of_its_last_mail() -> None:
    one = counted_book()
    one.count([replace(fact(D), mail_class="transactional")], NOW)
    one.count([replace(fact(D), mail_class="")], NOW)
    assert one.clients["shop", "google"].mail_class == "transactional"
