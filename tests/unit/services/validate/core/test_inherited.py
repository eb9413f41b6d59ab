"""A client inherits the lists of its parents: block lists and suppressed recipients."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.validate.core.batch import Judged
from services.validate.core.suppression import fields_to_look_up, suppress, to_look_up
from services.validate.core.verdict import Passed, Suppressed
from shared.registry.client import Client, family_of
from shared.suppressions.entries import explain
from shared.topics.records import Envelope, Facts, Message, Origin
from shared.topics.suppressions import (
    FIELD_BYTES,
    Suppression,
    SuppressionReason,
    bit_of,
    field_of,
)

NOW = 5
ANNA = "anna@people.example"
CLIENTS = {
    each.name: each
    for each in (
        Client("shop", "shop.example", "back@o.example", "M", parent="group"),
        Client("group", "group.example", "back@o.example", "M", parent="holding"),
        Client("holding", "holding.example", "back@o.example", "M"),
        Client("other", "other.example", "back@o.example", "M"),
    )
}
REASONS = st.sampled_from(SuppressionReason)
VIEWS = st.dictionaries(st.sampled_from(sorted(CLIENTS)), st.sets(REASONS, min_size=1))


def lists_of(client: str) -> tuple[str, ...]:
    return family_of(CLIENTS[client], CLIENTS.get).names


def judged(client: str) -> Judged:
    envelope = Envelope("m", client, "a@s.example", ANNA, "", 0, Origin(), Facts())
    return Judged(Message(envelope, b"x"), Passed(envelope))


def outcomes(
    clients: list[str], view: Mapping[str, set[SuppressionReason]]
) -> list[tuple[str, str]]:
    """Return the reason word and sentence of each message to the same recipient."""
    held = {field_of(name, ANNA): sum(map(bit_of, reasons)) for name, reasons in view.items()}
    messages = [judged(each) for each in clients]
    indexes = to_look_up(messages)
    fields = fields_to_look_up(messages, indexes, lists_of)
    bits = bytes(
        held.get(fields[start : start + FIELD_BYTES], 0)
        for start in range(0, len(fields), FIELD_BYTES)
    )
    found = []
    for one in suppress(messages, indexes, bits, NOW, lists_of):
        verdict = one.verdict
        if isinstance(verdict, Suppressed):
            found.append((verdict.event.rules[0].rule, verdict.event.reason))
        else:
            found.append(("", ""))
    return found


@pytest.mark.parametrize(
    ("client", "owner", "word"),
    [
        ("shop", "shop", "manual"),
        ("shop", "group", "complaint"),
        ("shop", "holding", "imported"),
        ("group", "holding", "imported"),
        ("group", "shop", ""),
        ("holding", "group", ""),
        ("other", "group", ""),
    ],
)
def test_an_entry_holds_for_its_client_and_those_below_and_for_no_other(
    client: str, owner: str, word: str
) -> None:
    reason = SuppressionReason(word or "manual")
    ((found, sentence),) = outcomes([client], {owner: {reason}})
    assert found == word
    assert not word or owner in sentence
    assert ("inherits" in sentence) is (bool(word) and owner != client)


def test_the_nearest_list_gives_the_reason() -> None:
    view = {"shop": {SuppressionReason.SOFT_BOUNCES}, "group": {SuppressionReason.COMPLAINT}}
    assert [word for word, _ in outcomes(["shop", "group"], view)] == ["soft_bounces", "complaint"]


@given(clients=st.lists(st.sampled_from(sorted(CLIENTS)), max_size=8), view=VIEWS)
def test_what_is_explained_is_what_is_done(
    clients: list[str], view: dict[str, set[SuppressionReason]]
) -> None:
    entries = [Suppression(name, reason, ANNA) for name in view for reason in view[name]]
    explained = {each.client: each for each in explain(ANNA, CLIENTS, entries)}
    for client, (word, sentence) in zip(clients, outcomes(clients, view), strict=True):
        assert explained[client].reason == word
        owner = explained[client].inherited_from
        assert not owner or owner in sentence
