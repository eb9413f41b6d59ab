"""What a removal writes, and why a recipient gets no mail."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from shared.registry.client import Client
from shared.suppressions.csv_file import Recipient
from shared.suppressions.entries import Author, addition, explain, names_of, removal, reset
from shared.topics.suppressions import (
    CounterReset,
    RecipientForm,
    Suppression,
    SuppressionReason,
)

ANNA = "anna@example.com"
BY = Author("ops", "asked by phone", 7)
REASON = SuppressionReason


def entry(reason: SuppressionReason, *, active: bool = True, client: str = "shop") -> Suppression:
    return Suppression(client, reason, ANNA, active=active)


@pytest.mark.parametrize(
    ("reason", "is_forced", "removed", "resets", "complaints"),
    [
        (REASON.MANUAL, False, 1, 0, 0),
        (REASON.IMPORTED, False, 1, 0, 0),
        (REASON.UNSUBSCRIBED, False, 1, 0, 0),
        (REASON.HARD_BOUNCES, False, 1, 1, 0),
        (REASON.SOFT_BOUNCES, False, 1, 1, 0),
        (REASON.COMPLAINT, False, 0, 0, 1),
        (REASON.COMPLAINT, True, 1, 0, 0),
    ],
)
def test_an_entry_is_removed_with_its_counter_and_a_complaint_only_by_force(
    reason: SuppressionReason, is_forced: bool, removed: int, resets: int, complaints: int
) -> None:
    plan = removal([entry(reason)], BY, is_forced=is_forced)
    written = [each for each in plan.records if isinstance(each, Suppression)]
    assert len(written) == removed
    assert len(plan.records) - removed == resets
    assert len(plan.complaints) == complaints
    for each in written:
        assert each == replace(
            entry(reason), active=False, author="ops", note="asked by phone", at_ms=7
        )


def test_what_was_removed_before_is_not_removed_again() -> None:
    assert removal([entry(REASON.MANUAL, active=False)], BY, is_forced=True).records == []


def test_a_counter_is_reset_once_for_both_of_its_entries() -> None:
    both = [entry(REASON.HARD_BOUNCES), entry(REASON.SOFT_BOUNCES)]
    plan = removal(both, BY, is_forced=False)
    assert sum(isinstance(each, CounterReset) for each in plan.records) == 1
    assert reset("shop", ANNA, BY) in plan.records


def test_an_entry_names_its_author_its_time_and_why() -> None:
    recipient = Recipient("ab", RecipientForm.MD5)
    made = addition("shop", recipient, REASON.IMPORTED, BY)
    assert made == Suppression(
        "shop", REASON.IMPORTED, "ab", RecipientForm.MD5, True, 7, "ops", "asked by phone"
    )


SHOP = Client("shop", "s.example", "back@o.example", "m", block_list=("*@blocked.example",))
NEWS = Client("news", "n.example", "back@o.example", "m")


@pytest.mark.parametrize(
    ("address", "entries", "wanted"),
    [
        (ANNA, [], {"news": "", "shop": ""}),
        ("x@blocked.example", [], {"news": "", "shop": "blocked"}),
        (ANNA, [entry(REASON.MANUAL)], {"news": "", "shop": "manual"}),
        (ANNA, [entry(REASON.MANUAL, active=False)], {"news": "", "shop": ""}),
        (
            ANNA,
            [entry(REASON.SOFT_BOUNCES), entry(REASON.COMPLAINT)],
            {"news": "", "shop": "complaint"},
        ),
        (ANNA, [entry(REASON.MANUAL, client="gone")], {"gone": "manual", "news": "", "shop": ""}),
    ],
)
def test_an_explanation_gives_the_reason_of_each_client(
    address: str, entries: list[Suppression], wanted: dict[str, str]
) -> None:
    found = explain(address, {"shop": SHOP, "news": NEWS}, entries)
    assert {each.client: each.reason for each in found} == wanted


def test_an_address_is_also_known_by_its_hashes() -> None:
    names = names_of(ANNA)
    assert [len(names[form]) for form in (RecipientForm.SHA256, RecipientForm.MD5)] == [64, 32]
