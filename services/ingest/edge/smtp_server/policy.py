"""The interface between an SMTP connection and the policy that decides about its commands.

The connection (connection.py) owns the protocol, the time limits and TLS. A policy owns the
replies: it accepts or refuses logins, senders, recipients and messages.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from services.ingest.core.smtp_server.connection_limiter import ConnectionSlot
from shared.smtp.events import ServerEvent
from shared.smtp.reply import Reply
from shared.smtp.server.session import ServerSession


class Policy(Protocol):
    """The decisions about one connection."""

    @property
    def is_storing(self) -> bool:
        """Whether a whole message has been received and its reply is pending."""
        ...

    def judge(self, event: ServerEvent) -> Reply | None:
        """Return the reply to an event, or None if `Conversation.answer` follows later."""
        ...

    def judge_growth(self, size_bytes: int) -> Reply | None:
        """Judge a message of which this much has arrived; a reply ends the connection."""
        ...

    def connection_lost(self) -> None:
        """Release what the connection held."""
        ...


class Conversation(Protocol):
    """The connection, as its policy sees it."""

    @property
    def session(self) -> ServerSession:
        """The protocol state, with the name under which the peer is logged in."""
        ...

    @property
    def slot(self) -> ConnectionSlot:
        """The peer's address and its place among all connections."""
        ...

    def answer(self, reply: Reply) -> None:
        """Answer the event that `judge` left open, and process what has arrived since."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a task that ends with the connection; if it crashes, the connection is closed."""
        ...


NewPolicy = Callable[[Conversation], Policy]
