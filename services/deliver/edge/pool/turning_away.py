"""Turns away mail that waits in a pool and must not be sent now. Such mail is sent later.

Owns: the choice of the waiting messages that must not be sent now. Their destination or sender was
suspended, or a rolling window stays used up, or their source warms up and has reached its limit for
today. Does not own: the state of
a group (shaping/shaper.py), the pool's connections (site_pool.py). Guarantees: a message that is
taken out of the planner gets its outcome, or is added to the pool again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from services.deliver.core.attempt.results import Busy, ConnectFault, NoSource
from services.deliver.core.pool.planner import SitePlanner
from services.deliver.core.shaping.group import Group
from services.deliver.core.shaping.throttle import Held
from services.deliver.edge.pool.delivery import Delivery
from services.deliver.edge.shaping.shaper import Shaper
from services.deliver.edge.smtp.connection import SmtpConnection

WARMING: Final = NoSource(
    "The source warms up and has sent what it may send there today", is_warming=True
)


class TurningAway:
    """The messages of one pool that must not be sent now."""

    def __init__(
        self,
        shaper: Shaper,
        planner: SitePlanner[Delivery, SmtpConnection],
        give_up: Callable[[Delivery, ConnectFault], None],
        add: Callable[[Delivery], None],
    ) -> None:
        self._shaper = shaper
        self._planner = planner
        self._give_up = give_up
        self._add = add

    def sweep(self) -> None:
        """Turn away the waiting messages that must not be sent now."""
        for group in self._planner.gates():
            if not isinstance(group, Group):
                continue
            if self._shaper.suspended(group):
                for delivery in self._planner.withdraw(group):
                    self._turn_away(group, delivery)
            elif self._shaper.is_warmed_out(group):
                self._overflow(group)
            elif self._shaper.is_used_up(group):
                for delivery in self._planner.withdraw(group, self._is_single):
                    self._decide(delivery, self._shaper.used_up(group))

    def is_due(self, delivery: Delivery) -> bool:
        """If the message's group is suspended now, turn the message away and return True."""
        group = delivery.group
        if group is None or not self._shaper.suspended(group):
            return False
        self._turn_away(group, delivery)
        return True

    def _overflow(self, group: Group) -> None:
        """Leave the messages to another source of the pool.

        If the pool has no other source, the messages wait for this source.
        """
        for delivery in self._planner.withdraw(group):
            if delivery.may_overflow and not delivery.has_begun:
                delivery.leave_source(WARMING)
            else:
                self._turn_away(group, delivery)

    def _turn_away(self, group: Group, delivery: Delivery) -> None:
        self._decide(delivery, self._shaper.held(group, is_back=True))

    def _is_single(self, delivery: Delivery) -> bool:
        """Return False if a limit delays the reading of the message's lane instead."""
        group = delivery.group
        return group is None or not self._shaper.reads_slowly(delivery.lane, group)

    def _decide(self, delivery: Delivery, held: Held | None) -> None:
        if held is None:
            self._add(delivery)
        else:
            self._give_up(delivery, Busy(held.delay_s, held.reason, held.is_turn))
