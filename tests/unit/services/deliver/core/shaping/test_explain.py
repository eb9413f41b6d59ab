"""What `sluice shaping explain` says of a destination and a sender."""

from __future__ import annotations

import pytest

from services.deliver.core.shaping.explain import Explained, explain
from services.deliver.core.shaping.keys import Destination, Party
from services.deliver.core.shaping.parsing import combine, parse_file
from services.deliver.core.shaping.suspensions import Suspension, Suspensions

SHIPPED = """
[default]
connections = 5
[provider.big]
domains = ["big.example"]
messages = "100/s"
"""
OWN = """
[client.shop]
messages = "7/s"
[warmup]
days = [20, 40]
enough = "50%"
passes = "95%"
falls = "80%"
[source.new]
warmup = true
"""
RULES = combine([parse_file(SHIPPED, "shipped.toml"), parse_file(OWN, "own.toml")])
BIG = Destination("big.example", "mx.big.example", "big")
SMALL = Destination("small.example", "mx.small.example")
AT = 1_000.0


def found(
    to: Destination, client: str = "", source: str = "", step: int = 0, *states: Suspension
) -> Explained:
    known = Suspensions()
    known.merge(list(states), AT)
    return explain(RULES, known, to, Party(client, "", "", source), AT, step)


def rows(told: Explained) -> dict[tuple[str, str], tuple[str, str]]:
    return {(row.what, row.key): (row.value, row.origin) for row in told.limits}


def test_each_value_has_the_key_it_counts_under_and_its_origin() -> None:
    told = rows(found(BIG, "shop"))
    assert told["connections", "site:mx.big.example"] == ("5", "shipped.toml [default]")
    limits = {value: (key, origin) for (_, key), (value, origin) in told.items() if "/s" in value}
    assert limits["100/s"] == ("provider:big", "shipped.toml [provider.big]")
    assert limits["7/s"] == ("client:shop", "own.toml [client.shop]")


def test_a_client_or_destination_without_limits_of_its_own_has_those_of_all() -> None:
    told = rows(found(SMALL, "bank"))
    assert ("connections", "site:mx.small.example") in told
    assert not any("/s" in value for value, _ in told.values())


@pytest.mark.parametrize(("step", "amount"), [(0, "20"), (1, "40")])
def test_the_step_of_a_source_that_warms_up_is_one_of_the_limits(step: int, amount: str) -> None:
    told = rows(found(BIG, source="new", step=step))
    ((value, _),) = [row for (_, key), row in told.items() if key.startswith("warmup:")]
    assert value.startswith(amount)


def test_a_source_that_does_not_warm_up_has_no_such_limit() -> None:
    for told in (found(BIG, source="old"), found(BIG)):
        assert not any(row.key.startswith("warmup:") for row in told.limits)


def test_what_is_suspended_or_slowed_down_is_told_with_its_reason() -> None:
    states = (
        Suspension("provider:big", AT, until=AT + 60, lasted_s=60, reason="421 too much"),
        Suspension("source:new@provider:big", AT, until=AT + 30, lasted_s=30, reason="listed"),
        Suspension("provider:other", AT, until=AT + 60, lasted_s=60, reason="not ours"),
        Suspension("site:mx.big.example", AT, until=AT - 1, lasted_s=60, reason="over"),
    )
    told = found(BIG, "", "", 0, *states).suspensions
    assert [(row.key, row.until, row.reason) for row in told] == [
        ("provider:big", AT + 60, "421 too much"),
        ("source:new@provider:big", AT + 30, "listed"),
    ]
    assert found(SMALL, "", "", 0, *states).suspensions == ()


CLIENT_AT_BIG = Suspension("client:shop@provider:big", AT, until=AT + 60, reason="too many")
DOMAIN_AT_BIG = Suspension("sending_domain:n.example@provider:big", AT, until=AT + 60)


@pytest.mark.parametrize(
    ("to", "client", "shown"),
    [
        (BIG, "", {CLIENT_AT_BIG.key, DOMAIN_AT_BIG.key}),
        (BIG, "shop", {CLIENT_AT_BIG.key, DOMAIN_AT_BIG.key}),
        (BIG, "bank", {DOMAIN_AT_BIG.key}),
        (SMALL, "", set()),
    ],
)
def test_what_the_question_leaves_open_may_be_suspended(
    to: Destination, client: str, shown: set[str]
) -> None:
    told = found(to, client, "", 0, CLIENT_AT_BIG, DOMAIN_AT_BIG)
    assert {row.key for row in told.suspensions} == shown
