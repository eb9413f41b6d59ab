"""A message in a pool.

A delivery makes the content for a connection, and begins the message at most once.

This module also defines the interfaces that a pool calls: the permission to send a message, and the
rules that map the end of a transaction to an outcome.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from services.deliver.core.attempt.results import (
    ConnectFault,
    ConnectionInfo,
    NoSource,
    Outcome,
    TransactionResult,
)
from services.deliver.core.shaping.group import Group
from services.deliver.edge.smtp.connection import SmtpConnection
from shared.smtp.extensions import Unsendable
from shared.topics.records import Envelope


class Permission:
    """The permission to send one message. Any callable that returns a bool may be used instead.

    This is not an abstract base class, because isinstance() is four times slower for such a class.
    """

    __slots__ = ()

    def __call__(self) -> bool:
        """Claim the message. Return False if the message must not be sent."""
        raise NotImplementedError

    def prepare(self, ready: Callable[[bool], None]) -> bool:
        """Begin the steps that are needed before the claim. Return False if no steps are needed.

        When the steps are done, `ready` is called in the event loop, but not before this method has
        returned. The argument of `ready` is False if the message must not be sent. Until `ready` is
        called, a connection is reserved for the message.
        """
        raise NotImplementedError


class OutcomeRules(Protocol):
    """Maps the end of a transaction, or of an attempt to connect, to the message's outcome."""

    def transaction(
        self, result: TransactionResult, was_answered: bool, where: ConnectionInfo
    ) -> Outcome:
        """Return the outcome of a transaction."""
        ...

    def no_connection(self, fault: ConnectFault, was_answered: bool, site: str) -> Outcome:
        """Return the outcome of a message that got no connection."""
        ...


class SevenBit(Protocol):
    """Makes the content for a server that does not offer both 8BITMIME and SMTPUTF8."""

    def __call__(self, *, keeps_body: bool = False) -> bytes | Unsendable:
        """Return the content in ASCII, or the reason why it cannot be converted.

        If `keeps_body` is set, only the header is converted.
        """
        ...


class Delivery:
    """One message in a pool."""

    __slots__ = (
        "begin",
        "content",
        "future",
        "group",
        "has_begun",
        "lane",
        "mail_id",
        "may_overflow",
        "on_left",
        "recipient",
        "sender",
        "seven_bit",
        "size_bytes",
        "source_fault",
        "was_answered",
    )

    def __init__(
        self,
        envelope: Envelope,
        content: bytes,
        begin: Callable[[], bool] | None,
        seven_bit: SevenBit | None,
        group: Group | None = None,
    ) -> None:
        """`group` contains the limits for which the message waits."""
        self.group = group
        self.mail_id = envelope.mail_id
        # The lane from which the message was read. A deferred message comes back on no lane.
        self.lane = "" if envelope.due_at_ms else envelope.lane
        self.sender = envelope.sender
        self.recipient = envelope.recipient
        self.content = content
        self.size_bytes = len(content)
        self.begin = begin
        self.seven_bit = seven_bit
        self.has_begun = False
        # True if another source may send the message after this source has reached its warm-up
        # limit for today.
        self.may_overflow = False
        # The fault of the source that prevented the sending. After such a fault, another source may
        # send the message.
        self.source_fault: NoSource | None = None
        # A function that is called once, when the message has an outcome or needs none. It is not a
        # callback of the future, because such a callback would take a turn of the event loop for
        # each message.
        self.on_left: Callable[[Delivery], None] | None = None
        # True if the server answered MAIL or RCPT in any transaction of this attempt.
        self.was_answered = False
        self.future: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()

    def prepare(self, ready: Callable[[bool], None]) -> bool:
        """Begin the steps that must precede the sending. Return False if no steps are needed.

        If the permission raises, the waiter gets the exception.
        """
        if self.has_begun or not isinstance(self.begin, Permission):
            return False
        try:
            return self.begin.prepare(ready)
        except Exception as error:
            self.fail(error)
            return False

    def try_begin(self) -> bool:
        """Return True if the message may be sent. Otherwise finish it without an outcome.

        If `begin` raises, the waiter gets the exception.
        """
        if self.future.done():
            self._leave()
            return False  # the attempt ended with a fault, or was cancelled
        if self.has_begun or self.begin is None:
            return True
        try:
            self.has_begun = self.begin()
        except Exception as error:
            self.fail(error)
            return False
        if not self.has_begun:
            self.drop()
        return self.has_begun

    def content_for(self, connection: SmtpConnection) -> bytes | Unsendable:
        """Return the content in a form that the server accepts, or why no such form exists."""
        if self.seven_bit is None or connection.takes(self.content):
            return self.content
        return self.seven_bit(keeps_body=connection.takes_eight_bit)

    def settle(self, outcome: Callable[..., Outcome], *args: object) -> None:
        """Set the outcome that `outcome` returns.

        If `outcome` raises, the waiter gets the exception.
        """
        self._leave()
        if self.future.done():
            return
        try:
            found = outcome(*args)
        except Exception as error:
            self.future.set_exception(error)
        else:
            self.future.set_result(found)

    def drop(self) -> None:
        """Finish without an outcome."""
        self._leave()
        if not self.future.done():
            self.future.set_result(None)

    def leave_source(self, fault: NoSource) -> None:
        """Finish without an outcome, so that another source can send the message."""
        self._leave()
        if not self.future.done():
            self.source_fault = fault
            self.future.set_result(None)

    def fail(self, error: Exception) -> None:
        """Finish with a fault of our own code."""
        self._leave()
        if not self.future.done():
            self.future.set_exception(error)

    def _leave(self) -> None:
        on_left, self.on_left = self.on_left, None
        if on_left is not None:
            on_left(self)
