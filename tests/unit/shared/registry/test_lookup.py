"""Who finds a removed client, and who does not."""

from __future__ import annotations

import pytest

from shared.registry.client import Client
from shared.registry.lookup import WithRemoved, find_clients
from shared.registry.removal import MailChoice, Removal

SHOP = Client("shop", "news.shop.example", "r@shop.example", "M-1")
GONE = Client(
    "gone",
    "news.gone.example",
    "r@gone.example",
    "M-2",
    removal=Removal(MailChoice.HOLD, 1, 2),
)


class View:
    """A registry with one client, and one removed, until it is restored by a refresh."""

    def __init__(self) -> None:
        self.refreshes = 0
        self.restored: Client | None = None

    def get(self, name: str) -> Client | None:
        return {"shop": SHOP, "gone": self.restored}.get(name)

    def by_domain(self, domain: str) -> Client | None:
        return SHOP if domain == SHOP.sending_domain else None

    def removed(self, name: str) -> Client | None:
        return GONE if name == "gone" else None

    def removed_by_domain(self, domain: str) -> Client | None:
        return GONE if domain == GONE.sending_domain else None

    def refresh(self, timeout_s: float) -> bool:
        self.refreshes += 1
        return True

    def ready(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("name", "client"), [("shop", SHOP), ("gone", GONE), ("nobody", None), ("removed/gone", None)]
)
def test_those_who_deal_with_accepted_mail_find_removed_clients_too(
    name: str, client: Client | None
) -> None:
    both = WithRemoved(View())
    assert both.get(name) == client
    if client is not None:
        assert both.by_domain(client.sending_domain) == client
    assert both.by_domain("news.other.example") is None


def test_a_removed_client_is_looked_up_again_as_it_may_have_been_restored() -> None:
    view = View()
    assert find_clients(WithRemoved(view), ["shop"]) == {"shop": SHOP}
    assert view.refreshes == 0
    assert find_clients(WithRemoved(view), ["shop", "gone"]) == {"shop": SHOP, "gone": GONE}
    assert view.refreshes == 1
    view.restored = Client("gone", GONE.sending_domain, "r@gone.example", "M-2")
    assert find_clients(WithRemoved(view), ["gone"]) == {"gone": view.restored}
