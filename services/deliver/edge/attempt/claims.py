"""Decides whether a message may be sent, just before its first byte is sent.

Guarantees: a message begins at most once. It does not begin if it has expired, or if an order
stopped or rerouted it while it waited for a connection. After a claim was refused, every later call
is refused, too, because the message may already have its final event.

Some messages must be held when they are in doubt. Such a message begins only after Kafka has a
record that the message is about to be offered (Worker.name()). The record is written when a
connection for the message is available. The connection stays reserved until Kafka has the record.
So after a crash, the number of messages in doubt is at most the number of connections.
"""

from __future__ import annotations

from collections.abc import Callable

from services.deliver.core.attempt.plan import has_expired, must_hold
from services.deliver.edge.control.control import Control
from services.deliver.edge.pool.delivery import Permission
from shared.runtime.clock import Clock
from shared.stream.jobs import Job


class Claim(Permission):
    """Claims one job. Call the claim just before the message is sent."""

    __slots__ = (
        "_clock",
        "_control",
        "_name",
        "_notice",
        "_route",
        "is_ended",
        "is_withdrawn",
        "job",
    )

    def __init__(
        self,
        job: Job,
        clock: Clock,
        control: Control,
        notice: Callable[[Job], None],
        name: Callable[[Job, Callable[[bool], None]], None],
    ) -> None:
        """`notice` is called when the message stops waiting, no matter whether the message begins.

        `name` writes a record that the message is about to be offered, and then calls its second
        argument in the event loop. The call passes True if the message still belongs to this
        process, otherwise False.
        """
        self.job = job
        self._clock = clock
        self._control = control
        self._notice = notice
        self._name = name
        self._route = control.target(job.message.envelope)
        # True if the message ends without an attempt, because it has expired or an order applies to
        # it.
        self.is_ended = False
        # True if nothing more may be sent with this claim.
        self.is_withdrawn = False

    def __call__(self) -> bool:
        """Claim the message for an attempt. Return False if the message must not be sent."""
        if self.is_withdrawn:
            return False
        self._notice(self.job)
        envelope = self.job.message.envelope
        self.is_ended = has_expired(envelope, self._clock.now_ms()) or self.is_ordered_otherwise()
        self.is_withdrawn = self.is_ended or not self.job.begin()
        return not self.is_withdrawn

    def prepare(self, ready: Callable[[bool], None]) -> bool:
        """Record in Kafka that the message is about to be offered, if this record is required.

        Return False if no record is required, or if the message must not be sent.
        """
        envelope = self.job.message.envelope
        if self.is_withdrawn or self.job.named or not must_hold(envelope):
            return False
        if has_expired(envelope, self._clock.now_ms()) or self.is_ordered_otherwise():
            return False
        self._name(self.job, ready)
        return True

    def is_ordered_otherwise(self) -> bool:
        """Return whether an order stops the message or changes its destination."""
        order = self._control.of(self.job.message.envelope)
        return (order.target if order else "") != self._route or (
            order is not None and not order.target
        )

    def withdraw(self) -> bool:
        """Take a waiting message back from the pool. Return False if the message does not wait."""
        if self.is_withdrawn or self.job.begun:
            return False
        self.is_withdrawn = True
        self._notice(self.job)
        return True
