"""Who logs in on one connection of the front door, and what that client may still do.

Owns: which login is let in (password, address, lock-out, connections of the client), and whether
the client may go on, asked again at each message: what the registry says now holds for open
connections too. Does not own: the exchange (shared/smtp), checking passwords (logins.py), the
counts (core/crowd.py, core/access.py).
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from services.ingest.core import replies
from services.ingest.core.access import may_come_from
from services.ingest.core.crowd import Place
from services.ingest.edge.door import Door
from services.ingest.edge.logins import Busy
from shared.registry.client import Client
from shared.smtp.events import Login, ScramFinish, ScramStart
from shared.smtp.reply import Reply
from shared.smtp.server.sasl import ScramOffer

log = logging.getLogger(__name__)

# A failed login is answered no sooner, so that guessing takes time.
FAILURE_DELAY_S: Final = 1.0
CLIENT_FULL: Final = "client"


class DoorLogin:
    """The logins of one connection."""

    def __init__(self, door: Door, place: Place) -> None:
        self._door = door
        self._place = place
        self._loop = asyncio.get_running_loop()

    def turns_away(self, event: Login | ScramStart) -> Reply | None:
        """The refusal of a login that is not even tried: too many before it have failed.

        Under a name that is locked the password that was right a short while ago still lets in:
        another host behind the same address has a wrong one. Guesses at it count all the same.
        """
        failures, address, name = self._door.failures, self._place.address, event.username
        now = self._loop.time()
        if self._place.has_erred_too_often(name, now):
            return replies.MANY_ERRORS_OF_CLIENT
        if failures.is_address_locked(address, now):
            return replies.LOCKED
        if not failures.is_name_locked(address, name, now):
            return None
        if isinstance(event, Login) and self._was_right(event):
            return None
        failures.note_locked(address, now)
        return replies.LOCKED

    def offer(self, name: str) -> ScramOffer:
        """What a SCRAM exchange under this name begins with."""
        return self._door.logins.offer(name, self._door.client_of(name))

    async def judge(self, event: Login | ScramFinish) -> Reply:
        """The answer to a name and a password, or to the end of a SCRAM exchange."""
        client = self._door.client_of(event.username)
        if isinstance(event, ScramFinish):
            is_right = event.key_index is not None
        else:
            try:
                is_right = await self._door.logins.is_right(event.username, client, event.password)
            except Busy:
                return replies.BUSY
        return await self._judge(event.username, client if is_right else None)

    def judge_client(self, name: str) -> Client | Reply:
        """The client that is logged in, or why it may not go on."""
        client = self._door.client_of(name)
        if client is None or not may_come_from(client.ips, self._place.address):
            return replies.GONE
        if not self._place.is_within(self._most(client)):
            return self._too_many(name)
        return client

    def is_within_rate(self, client: Client) -> bool:
        """Whether one message more is within the client's rate; it is counted then."""
        per_minute = client.max_messages_per_minute or self._door.limits.messages_per_minute
        return self._door.rate.take(client.name, per_minute, self._loop.time())

    # -- inside

    def _was_right(self, event: Login) -> bool:
        client = self._door.client_of(event.username)
        return (
            client is not None
            and may_come_from(client.ips, self._place.address)
            and self._door.logins.is_known(client, event.password)
        )

    async def _judge(self, name: str, client: Client | None) -> Reply:
        address = self._place.address
        if client is not None and may_come_from(client.ips, address):
            is_in = self._place.log_in(client.name, self._most(client))
            return replies.WELCOME if is_in else self._too_many(name)
        self._door.counts.failed_logins.add()
        self._door.failures.note(address, name, self._loop.time())
        why = "not from here" if client is not None else "wrong name or password"
        log.warning("login refused", extra={"user": name, "peer": address, "reason": why})
        await asyncio.sleep(FAILURE_DELAY_S)
        return replies.FOREIGN if client is not None else replies.WRONG

    def _most(self, client: Client) -> int:
        return client.max_connections or self._door.limits.connections_per_client

    def _too_many(self, name: str) -> Reply:
        log.warning(
            "too many connections of a client", extra={"user": name, "peer": self._place.address}
        )
        self._door.counts.turned_away.add(1, CLIENT_FULL)
        return replies.MANY_OF_CLIENT
