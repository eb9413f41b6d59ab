"""Decides which logins on one connection of the front door are accepted.

The decision about a login depends on the password, the address, the number of failed logins, and
the number of connections of the client. For each message, a second check decides whether the client
may continue, so that a change of the registry takes effect on open connections. This module does
not own the login exchange (shared/smtp), the check of passwords (password_verifier.py) and the
counts (core/smtp_server).
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from services.ingest.core.smtp_server import replies
from services.ingest.core.smtp_server.connection_limiter import ConnectionSlot
from services.ingest.core.smtp_server.rates import may_come_from
from services.ingest.edge.front_door.context import FrontDoorContext
from services.ingest.edge.front_door.password_verifier import Busy
from shared.registry.client import Client
from shared.smtp.events import Login, ScramFinish, ScramStart
from shared.smtp.reply import Reply
from shared.smtp.server.sasl import ScramOffer

log = logging.getLogger(__name__)

# The reply to a failed login is delayed by this time, so that it takes a long time to guess
# passwords.
FAILURE_DELAY_S: Final = 1.0
CLIENT_FULL: Final = "client"


class LoginPolicy:
    """Judges the logins of one connection."""

    def __init__(self, context: FrontDoorContext, slot: ConnectionSlot) -> None:
        self._context = context
        self._slot = slot
        self._loop = asyncio.get_running_loop()

    def reject_early(self, event: Login | ScramStart) -> Reply | None:
        """Return a refusal if too many logins have failed, so that this login is not checked.
        Otherwise return None.

        If the name is locked, a password that was right a short time ago is still checked, because
        the failures must come from another host with the same address. Other logins under a locked
        name are counted and refused.
        """
        failures, address, name = self._context.failures, self._slot.address, event.username
        now = self._loop.time()
        if self._slot.has_erred_too_often(name, now):
            return replies.MANY_ERRORS_OF_CLIENT
        if failures.is_address_locked(address, now):
            return replies.LOCKED
        if not failures.is_name_locked(address, name, now):
            return None
        if isinstance(event, Login) and self._was_right(event):
            return None
        failures.count_locked(address, now)
        return replies.LOCKED

    def offer(self, name: str) -> ScramOffer:
        """Return the parameters that start a SCRAM exchange under this name."""
        return self._context.passwords.offer(name, self._find(name))

    async def judge(self, event: Login | ScramFinish) -> Reply:
        """Return the reply to a login with name and password, or to the end of a SCRAM exchange."""
        client = self._find(event.username)
        if isinstance(event, ScramFinish):
            is_right = event.key_index is not None
        else:
            try:
                is_right = await self._context.passwords.is_right(
                    event.username, client, event.password
                )
            except Busy:
                return replies.BUSY
        return await self._judge(event.username, client if is_right else None)

    def judge_client(self, name: str) -> Client | Reply:
        """Return the logged-in client. If the client may not continue, return the reply that states
        the reason."""
        client = self._context.client_of(name)
        if client is None or not may_come_from(client.ips, self._slot.address):
            return replies.GONE
        if not self._slot.is_within(self._most(client)):
            return self._too_many(name)
        return client

    def try_count_message(self, client: Client) -> bool:
        """Count a message of the client. Return False if the message would exceed the client's
        rate."""
        per_minute = client.max_messages_per_minute or self._context.limits.messages_per_minute
        return self._context.rate.try_take(client.name, per_minute, self._loop.time())

    # -- inside

    def _was_right(self, event: Login) -> bool:
        client = self._context.client_of(event.username)
        return (
            client is not None
            and may_come_from(client.ips, self._slot.address)
            and self._context.passwords.is_known(client, event.password)
        )

    def _find(self, name: str) -> Client | None:
        """Return the client with this name, even if the client was removed.

        If the password is right, the reply says that the client was removed. If the password is
        wrong, the reply is the same as for an unknown name.
        """
        return self._context.client_of(name) or self._context.removed_client_of(name)

    async def _judge(self, name: str, client: Client | None) -> Reply:
        address = self._slot.address
        if client is not None and may_come_from(client.ips, address):
            if client.removal is not None:
                return await self._refuse_removed(name)
            is_in = self._slot.try_log_in(client.name, self._most(client))
            return replies.WELCOME if is_in else self._too_many(name)
        self._context.metrics.failed_logins.add()
        self._context.failures.count(address, name, self._loop.time())
        why = (
            "the address is not registered for this client"
            if client is not None
            else "wrong name or password"
        )
        log.warning("login refused", extra={"user": name, "peer": address, "reason": why})
        await asyncio.sleep(FAILURE_DELAY_S)
        return replies.FOREIGN if client is not None else replies.WRONG

    async def _refuse_removed(self, name: str) -> Reply:
        """Refuse a removed client. The password was right, so the login is not counted for the
        lock-out."""
        self._context.metrics.failed_logins.add()
        found = {"user": name, "peer": self._slot.address, "reason": "the client was removed"}
        log.warning("login refused", extra=found)
        await asyncio.sleep(FAILURE_DELAY_S)
        return replies.REMOVED

    def _most(self, client: Client) -> int:
        return client.max_connections or self._context.limits.connections_per_client

    def _too_many(self, name: str) -> Reply:
        log.warning(
            "connection refused: the client has too many connections",
            extra={"user": name, "peer": self._slot.address},
        )
        self._context.server.turned_away.add(1, CLIENT_FULL)
        return replies.MANY_OF_CLIENT
