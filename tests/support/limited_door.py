"""A front door with low limits, and its clients."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from shared.registry.client import Client
from shared.registry.store import publish
from shared.registry.store.changes import Changes
from shared.settings.sections import KafkaSettings
from tests.support.front_door import Door

DOMAIN = "news.limited.example"
NAME, RATED, SLOW = "limited-client", "limited-rated", "limited-slow"
SENDER = f"news@{DOMAIN}"
CLIENT = Client(NAME, DOMAIN, "back@limited.example.org", "limited-mailing")
MOST_OF_CLIENT = 4
MESSAGES_A_MINUTE = 3
# The number is low, so that the next connection is allowed only after a long time.
NEW_A_MINUTE = 3
# A slow peer is disconnected after this time.
IDLE_S = 5


class Limited(Struct, frozen=True):
    """The front door, and its clients as registered."""

    door: Door
    clients: dict[str, Client]

    def change(self, name: str, **limits: int) -> None:
        """Publish new limits of a client."""
        changed = replace(self.clients[name], **limits)
        publish.apply(KafkaSettings(bootstrap=self.door.bootstrap), Changes(changed=(changed,)))
