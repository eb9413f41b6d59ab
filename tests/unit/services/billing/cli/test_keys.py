"""For whom an access key may be made."""

from __future__ import annotations

import pytest

from services.billing.cli.keys import require_registered
from shared.access.keys import Scope
from shared.registry.client import Client, Code
from shared.runtime.errors import UsageError

SHOP = Client(
    "shop",
    "shop.example",
    "a@b.example",
    "news",
    codes={"s": Code("news", "south"), "n": Code("news", "north"), "m": Code("other")},
)


@pytest.mark.parametrize("scope", [Scope("shop"), Scope("shop", "south"), Scope("shop", "")])
def test_a_key_may_be_for_what_is_registered(scope: Scope) -> None:
    require_registered(scope, {"shop": SHOP})


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        (Scope("shp"), "no client 'shp' is registered; known: shop; did you mean shop"),
        (Scope("shop", "nosuch"), "the sub-client 'nosuch'; known: north, south; --unregistered"),
    ],
)
def test_a_misspelled_client_or_sub_client_is_refused(scope: Scope, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        require_registered(scope, {"shop": SHOP})
