"""Connection pools, one for each site: bounded, reused, first come first served.

Owns: how many connections there are and which message goes over which. Does not own: one
connection's dialog (connection.py), what an answer means (core/classify.py), where a domain
is delivered (core/routing.py, resolver.py).

Promises: send() never raises for anything remote. A site that cannot be reached costs one
try to connect for each pause, not one for each message; its mail is deferred. A reused
connection that turns out to be closed costs nothing: the message goes over a fresh one.
"""

from __future__ import annotations

import asyncio
import importlib.resources
import logging
from collections import deque
from collections.abc import Callable
from typing import Final, TypeGuard

from msgspec import Struct

from services.deliver.core import classify
from services.deliver.core.answers import Where, answered, unanswered, unroutable, unsendable
from services.deliver.core.outcome import Outcome
from services.deliver.core.routing import (
    Mx,
    Routes,
    Site,
    site_of_mx,
)
from services.deliver.edge.connection import (
    SERVICE_NOT_READY,
    Broken,
    Ending,
    Failpoints,
    Refused,
    Timeouts,
    Wire,
    open_wire,
)
from services.deliver.edge.resolver import Resolver
from shared.smtp.client import Unsendable
from shared.smtp.events import Finished, Stage
from shared.topics.records import Envelope

log = logging.getLogger(__name__)

SWEEP_S: Final = 0.5
# How long a site that could not be reached is left alone; doubles up to the longest.
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0


class PoolSettings(Struct, frozen=True):
    """Bounds of every site's pool."""

    ehlo_name: str
    timeouts: Timeouts
    max_connections: int = 20
    max_messages_per_connection: int = 100
    idle_timeout_s: float = 5.0


class _Parcel:
    """One message on its way through a pool."""

    __slots__ = ("answered", "begin", "begun", "content", "future", "recipient", "sender", "wire")

    def __init__(
        self, envelope: Envelope, content: bytes, begin: Callable[[], bool] | None
    ) -> None:
        self.sender = envelope.sender
        self.recipient = envelope.recipient
        self.content = content
        self.begin = begin
        self.begun = False
        self.answered = False
        self.future: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
        self.wire: Wire | None = None


def _says_goodbye(ending: Ending) -> TypeGuard[Finished]:
    """Whether the server ended the session instead of beginning the transaction."""
    return (
        isinstance(ending, Finished)
        and ending.reply.code == SERVICE_NOT_READY
        and ending.stage in (Stage.RSET, Stage.MAIL)
    )


class _Pool:
    """The connections to one site and the messages waiting for one."""

    def __init__(self, site: Site, pools: Pools) -> None:
        self._site = site
        self._pools = pools
        self._settings = pools.settings
        self._waiting: deque[_Parcel] = deque()
        self._idle: list[Wire] = []
        self._wires: set[Wire] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._pause_s = 0.0
        self._paused_until = 0.0
        self._fault: Refused | str = ""
        self._loop = asyncio.get_running_loop()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held."""
        return not (self._waiting or self._wires or self._opening)

    def add(self, parcel: _Parcel) -> None:
        """Take a message."""
        self._waiting.append(parcel)
        self._dispatch()

    def _dispatch(self) -> None:
        waiting = self._waiting
        while waiting and self._idle:
            self._start(self._idle.pop(), waiting.popleft())
        if not waiting:
            return
        if not self._wires and self._loop.time() < self._paused_until:
            self._fail_waiting()
            return
        limit = self._settings.max_connections
        wanted = min(len(waiting), limit - len(self._wires)) - len(self._opening)
        if self._loop.time() < self._paused_until:
            return  # what is open goes on, more is not opened for now
        for _ in range(wanted):
            task = self._loop.create_task(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def _start(self, wire: Wire, parcel: _Parcel) -> None:
        if parcel.begin is not None and not parcel.begun and not parcel.begin():
            parcel.future.set_result(None)
            self._idle.append(wire)
            return
        parcel.begun = True
        parcel.wire = wire
        wire.start(
            parcel.sender,
            parcel.recipient,
            parcel.content,
            lambda ending: self._ended(wire, parcel, ending),
        )

    def _ended(self, wire: Wire, parcel: _Parcel, ending: Ending) -> None:
        if isinstance(ending, Broken):
            parcel.answered |= ending.answered
            if not ending.answered and not ending.in_doubt and not ending.fresh:
                self._again(parcel)  # it was closed while idle: nobody's fault
                return
        elif _says_goodbye(ending) and wire.sent > 1:
            parcel.answered |= ending.stage is Stage.MAIL
            self._again(parcel)
            return
        if not parcel.future.done():
            parcel.future.set_result(self._pools.outcome(self._site, wire, parcel, ending))
        if isinstance(ending, Broken):
            return
        if wire.sent >= self._settings.max_messages_per_connection:
            self._loop.call_soon(wire.close, True)
        elif wire.is_usable:
            if self._waiting:
                # Not from inside the reader: it may hold further replies.
                self._loop.call_soon(self._next, wire)
            else:
                self._park(wire)

    def _again(self, parcel: _Parcel) -> None:
        self._waiting.appendleft(parcel)
        self._loop.call_soon(self._dispatch)

    def _next(self, wire: Wire) -> None:
        if not wire.is_usable:
            return
        if self._waiting:
            self._start(wire, self._waiting.popleft())
        else:
            self._park(wire)

    def _park(self, wire: Wire) -> None:
        wire.deadline = self._loop.time() + self._settings.idle_timeout_s
        self._idle.append(wire)

    async def _open(self) -> None:
        fault: Refused | str = "the site has no host"
        for host in self._site.hosts:
            try:
                wire = await open_wire(
                    host,
                    self._settings.ehlo_name,
                    self._settings.timeouts,
                    self._pools.failpoints,
                )
            except Refused as error:
                fault = error
            except (OSError, TimeoutError, ValueError) as error:
                fault = f"{host.name}:{host.port}: {error or type(error).__name__}"
            else:
                self._pause_s = 0.0
                self._wires.add(wire)
                wire.on_closed = self._closed
                self._next(wire)
                return
        self._fault = fault
        self._pause_s = min(max(self._pause_s * 2, FIRST_PAUSE_S), LONGEST_PAUSE_S)
        self._paused_until = self._loop.time() + self._pause_s
        if not self._wires:
            self._fail_waiting()

    def _fail_waiting(self) -> None:
        parcels, self._waiting = self._waiting, deque()
        for parcel in parcels:
            if parcel.begin is not None and not parcel.begun and not parcel.begin():
                parcel.future.set_result(None)
                continue
            parcel.begun = True
            parcel.future.set_result(
                self._pools.unreachable(self._site, parcel.answered, self._fault)
            )

    def _closed(self, wire: Wire) -> None:
        self._wires.discard(wire)
        if wire in self._idle:
            self._idle.remove(wire)
        if self._waiting:
            self._loop.call_soon(self._dispatch)

    def sweep(self, now: float) -> None:
        """End what has passed its deadline."""
        for wire in [wire for wire in self._wires if wire.deadline <= now]:
            if wire.is_busy:
                wire.expire()
            elif wire in self._idle:
                wire.close(say_goodbye=True)
        if self._waiting:
            self._dispatch()

    def close(self) -> None:
        """Close every connection; what is under way is broken off, what waits is given up."""
        for parcel in self._waiting:
            if not parcel.future.done():
                parcel.future.set_result(None)
        self._waiting.clear()
        for task in list(self._opening):
            task.cancel()
        for wire in list(self._wires):
            wire.close(say_goodbye=True)


class Pools:
    """Every site's pool. Use it in one loop; call start() in it first."""

    def __init__(
        self,
        settings: PoolSettings,
        routes: Routes,
        resolver: Resolver,
        failpoints: Failpoints,
    ) -> None:
        self.settings = settings
        self.failpoints = failpoints
        self._routes = routes
        self._resolver = resolver
        self._pools: dict[str, _Pool] = {}
        text = importlib.resources.files("services.deliver.rules").joinpath("replies.toml")
        self._rules = classify.parse_rules(text.read_text(encoding="utf-8"))
        self._sweeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch deadlines."""
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    @property
    def connections(self) -> int:
        """Open connections, over all sites."""
        return sum(len(pool._wires) for pool in self._pools.values())

    async def send(
        self, envelope: Envelope, content: bytes, begin: Callable[[], bool] | None = None
    ) -> Outcome | None:
        """Attempt a delivery.

        `begin` is asked just before the message would go out, or be given an outcome without;
        where it says no, nothing is sent and the answer is None.
        """
        domain = envelope.recipient.rpartition("@")[2].lower()
        site = self._routes.site_of(domain)
        if site is None:
            resolution = self._resolver.cached(domain) or await self._resolver.resolve(domain)
            if not isinstance(resolution, Mx):
                if begin is not None and not begin():
                    return None
                return unroutable(domain, resolution)
            site = site_of_mx(resolution)
        pool = self._pools.get(site.name)
        if pool is None:
            pool = self._pools[site.name] = _Pool(site, self)
        parcel = _Parcel(envelope, content, begin)
        pool.add(parcel)
        return await parcel.future

    def outcome(self, site: Site, wire: Wire, parcel: _Parcel, ending: Ending) -> Outcome:
        """What the end of a transaction means."""
        where = Where(site.name, wire.source, wire.tls)
        match ending:
            case Finished(stage, reply):
                # MAIL is the first thing that is said: whatever was answered, it dispatched.
                return answered(self._rules, stage, reply, True, where)
            case Broken(reason=reason, in_doubt=in_doubt):
                return unanswered(reason, parcel.answered, in_doubt, where)
            case Unsendable():
                return unsendable(ending.value, where)

    def unreachable(self, site: Site, was_answered: bool, fault: Refused | str) -> Outcome:
        """What it means that no connection could be had."""
        where = Where(site.name)
        if isinstance(fault, Refused):
            return answered(self._rules, fault.stage, fault.reply, was_answered, where)
        return unanswered(f"No connection: {fault}", was_answered, False, where)

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_S)
            now = loop.time()
            for name, pool in list(self._pools.items()):
                pool.sweep(now)
                if pool.is_empty and pool._paused_until < now:
                    del self._pools[name]

    async def close(self) -> None:
        """Close every connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for pool in list(self._pools.values()):
            pool.close()
        await asyncio.sleep(0)
