"""What removing, restoring and forgetting a client changes, as tables."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from shared.registry.client import Client, decode_client, encode_client, key_of
from shared.registry.file.yaml_tree import RegistryError
from shared.registry.removal import (
    DAY_MS,
    REASON,
    MailChoice,
    Removal,
    is_of_removal,
    order_of_removal,
)
from shared.registry.store.changes import Changes
from shared.registry.store.removing import (
    plan_apply,
    plan_forgetting,
    plan_removal,
    plan_restoring,
)
from shared.topics.control import Order, Scope, Verb

NOW = 1_000 * DAY_MS
SHOP = Client("shop", "news.shop.example", "r@shop.example", "M-1", hard_limit=9)
OTHER = Client("other", "news.other.example", "r@other.example", "M-2")
BOTH = {"shop": SHOP, "other": OTHER}
OPERATORS = Order(Verb.SUSPEND, Scope(client="shop"), "bob", "blocked", NOW - 5, NOW + DAY_MS)
# An operator may give the reason that removals give.
ALIKE = replace(OPERATORS, reason=f"{REASON}: by hand", expires_at_ms=0)


def removal(mail: MailChoice, at_ms: int = NOW) -> Removal:
    return Removal(mail, at_ms, at_ms + 30 * DAY_MS, "alice", "contract ended")


def removed(by: Removal, client: Client = SHOP) -> Client:
    return replace(client, removal=by)


@pytest.mark.parametrize(
    ("choice", "verb"),
    [(MailChoice.REFUSE, Verb.CANCEL), (MailChoice.HOLD, Verb.SUSPEND), (MailChoice.DELIVER, None)],
)
def test_a_removal_keeps_the_client_and_orders_what_becomes_of_its_mail(
    choice: MailChoice, verb: Verb | None
) -> None:
    by = removal(choice)
    changes = plan_removal(["shop"], BOTH, {}, by, {})
    assert (changes.removed, changes.kept) == (("shop",), (removed(by),))
    assert [order.verb for order in changes.orders] == ([verb] if verb else [])
    for order in changes.orders:
        assert order.scope == Scope(client="shop")
        assert order.reason == f"{REASON}: contract ended"
        assert order.author == "alice"
        assert is_of_removal(order)


def test_the_order_lasts_longer_than_any_message_waits_and_than_the_client_is_kept() -> None:
    short = Removal(MailChoice.HOLD, NOW, NOW + DAY_MS)
    long = Removal(MailChoice.HOLD, NOW, NOW + 400 * DAY_MS)
    ends = [order.expires_at_ms for by in (short, long) if (order := order_of_removal("shop", by))]
    assert ends == [NOW + 49 * DAY_MS, NOW + 400 * DAY_MS]


def test_a_plan_that_finds_its_own_result_changes_nothing() -> None:
    by = removal(MailChoice.HOLD)
    first = plan_removal(["shop"], BOTH, {}, by, {"shop": OPERATORS})
    (kept,) = first.kept
    assert kept.removal is not None
    assert kept.removal.replaced == OPERATORS
    again = plan_removal(["shop"], {"other": OTHER}, {"shop": kept}, by, {"shop": first.orders[0]})
    assert again == Changes(unchanged=("shop",))
    assert (
        plan_removal(["shop"], {"other": OTHER}, {"shop": kept}, by, {"shop": OPERATORS}) == again
    )
    assert plan_restoring("shop", BOTH, {}, by, None) == Changes(unchanged=("shop",))
    assert plan_forgetting("shop", {}) == Changes(unchanged=("shop",))


@pytest.mark.parametrize("first", list(MailChoice))
@pytest.mark.parametrize("second", list(MailChoice))
@pytest.mark.parametrize("before", [None, OPERATORS, ALIKE])
def test_the_choice_can_be_changed_and_a_restored_client_is_as_it_was(
    first: MailChoice, second: MailChoice, before: Order | None
) -> None:
    topic = {"shop": before} if before else {}

    def write(changes: Changes) -> None:
        topic.update({order.scope.client: order for order in changes.orders})

    changes = plan_removal(["shop"], BOTH, {}, removal(first), topic)
    write(changes)
    left, kept = {"other": OTHER}, {"shop": changes.kept[0]}
    changes = plan_removal(["shop"], left, kept, removal(second, NOW + 10), topic)
    write(changes)
    if changes.kept:
        kept = {"shop": changes.kept[0]}
    found = kept["shop"].removal
    assert found is not None
    assert found.mail is second
    order = order_of_removal("shop", found)
    if order is not None:
        assert topic["shop"] == order
    else:
        assert (
            topic.get("shop") == before
            if before is not None
            else "shop" not in topic or topic["shop"].is_over(NOW + 10)
        )
    changes = plan_restoring("shop", left, kept, removal(second, NOW + 20), topic.get("shop"))
    write(changes)
    assert changes.added == (SHOP,)
    assert changes.forgotten == ("shop",)
    if before is not None:
        assert topic["shop"] == before
    else:
        assert "shop" not in topic or topic["shop"].is_over(NOW + 20)


def test_an_order_of_operators_that_is_over_is_not_given_again() -> None:
    by = removal(MailChoice.HOLD)
    (kept,) = plan_removal(["shop"], BOTH, {}, by, {"shop": OPERATORS}).kept
    late = removal(MailChoice.DELIVER, NOW + 2 * DAY_MS)
    changes = plan_restoring("shop", {}, {"shop": kept}, late, order_of_removal("shop", by))
    assert [order.verb for order in changes.orders] == [Verb.RESUME]


def test_a_client_from_which_another_one_inherits_is_not_removed() -> None:
    child = replace(OTHER, parent="shop")
    with pytest.raises(RegistryError, match="other cannot inherit from 'shop'"):
        plan_removal(["shop"], {"shop": SHOP, "other": child}, {}, removal(MailChoice.HOLD), {})


def test_a_client_whose_domain_or_parent_is_gone_is_not_restored() -> None:
    heir = replace(OTHER, sending_domain=SHOP.sending_domain)
    kept = {"shop": removed(removal(MailChoice.HOLD), replace(SHOP, parent="gone"))}
    with pytest.raises(RegistryError) as caught:
        plan_restoring("shop", {"other": heir}, kept, removal(MailChoice.HOLD), None)
    assert "is already used by the registered client other" in str(caught.value)
    assert "shop cannot inherit from 'gone'" in str(caught.value)


def test_an_apply_does_not_bring_a_removed_client_back_before_it_is_forgotten() -> None:
    kept = {"shop": removed(removal(MailChoice.REFUSE))}
    order = order_of_removal("shop", removal(MailChoice.REFUSE))
    assert order is not None
    soon, late = removal(MailChoice.HOLD, NOW + 5), removal(MailChoice.HOLD, NOW + 31 * DAY_MS)
    with pytest.raises(RegistryError, match=r"clients\[0\]\.name: shop was removed"):
        plan_apply([SHOP], {"other": OTHER}, kept, soon, {"shop": order}, ())
    changes = plan_apply([SHOP], {"other": OTHER}, kept, late, {"shop": order}, ())
    assert changes.added == (SHOP,)
    assert [each.verb for each in changes.orders] == [Verb.RESUME]


def test_an_apply_that_prunes_removes_as_the_command_does() -> None:
    by = removal(MailChoice.HOLD)
    heir = replace(OTHER, sending_domain=SHOP.sending_domain)
    changes = plan_apply([heir], BOTH, {}, by, {}, ["shop"])
    assert (changes.changed, changes.removed) == ((heir,), ("shop",))
    assert changes.kept == (removed(by),)
    assert [order.verb for order in changes.orders] == [Verb.SUSPEND]


def test_the_record_of_a_removed_client_has_a_key_that_is_no_name() -> None:
    client = removed(Removal(MailChoice.HOLD, NOW, NOW + 1, "a", "b", OPERATORS))
    assert key_of(client) == "removed/shop"
    assert decode_client(key_of(client), encode_client(client)) == client
    with pytest.raises(ValueError, match="contains the client 'removed/shop'"):
        decode_client("shop", encode_client(client))
    with pytest.raises(ValueError, match="contains the client 'shop'"):
        decode_client("removed/shop", encode_client(SHOP))
