"""Schedules of faults from a seed: the faults, their processes and their order. Pure.

Job: draw, for a kind of fault and a seed, the membership of the consumers, the number of
processes of each service, and the steps. The schedule depends only on the seed, in every
process. Does not own: running the steps (scenes.py), the messages (mixture.py).

A process is identified by its index among the running ones of its service, 0 the oldest, because
names depend on what was started before.
"""

from __future__ import annotations

from enum import StrEnum
from random import Random
from typing import Final

from msgspec import Struct

from cli.stack.paths import SERVICES
from shared.runtime.failpoints import NAMES

# The first pause only delays heartbeats. The second pause certainly ends the session. The third
# pause is longer than the reply to a transaction, and than the 30 s of a slow destination.
PAST_SESSION_S: Final = 14.0
PAUSES_S: Final = (5.0, PAST_SESSION_S, 40.0)
# The session ends after 10 s, and a heartbeat comes every 2 s (shared/stream/client.py).
FORGIVEN_PAUSE_S: Final = 8.0
GROWN: Final = 3
SHORT_RATE_PER_S: Final = 80.0
RATE_PER_S: Final = 150.0


class Kind(StrEnum):
    """The kinds of schedules."""

    PAUSE = "pause"
    REBALANCE = "rebalance"
    KILL = "kill"


# The kind of the runs that are written one by one (test_long.py) instead of drawn.
FIXED: Final = "fixed"


class Pause(Struct, frozen=True, tag=True):
    """Pause one process of each of these services (service, place) and resume it later."""

    who: tuple[tuple[str, int], ...]
    seconds: float


class Grow(Struct, frozen=True, tag=True):
    """Start further processes of these services until each has `to`."""

    services: tuple[str, ...]
    to: int


class Shrink(Struct, frozen=True, tag=True):
    """Stop gracefully all processes of these services except the one at this index."""

    services: tuple[str, ...]
    survivor: int


class Kill(Struct, frozen=True, tag=True):
    """Kill one process; its successor has another name.

    With a failpoint, a process that dies at this failpoint is started; otherwise the process at
    `place` is killed.
    """

    service: str
    place: int
    failpoint: str = ""


class RestartBroker(Struct, frozen=True, tag=True):
    """Stop Kafka gracefully and start it again."""


Step = Pause | Grow | Shrink | Kill | RestartBroker


class Scenario(Struct, frozen=True):
    """One schedule. `processes` of each service run before the first step."""

    kind: str
    seed: int
    is_static: bool
    processes: int
    steps: tuple[Step, ...]
    rate_per_s: float = RATE_PER_S
    slowest_s: int = 30  # of the destinations: a key of mixture.BY_SLOWEST_S
    gap_s: float = 4.0  # seconds of load at `rate_per_s` after each step

    @property
    def name(self) -> str:
        """Return a name for its clients, its recipients and the results."""
        return f"{self.kind}-{'static' if self.is_static else 'dynamic'}-{self.seed}"


def copies_allowed(step: Step, max_in_flight: int) -> int:
    """Return the allowed second copies: the messages in flight in the affected process."""
    match step:
        case Pause(who, seconds) if seconds > FORGIVEN_PAUSE_S:
            return max_in_flight * sum(service == "deliver" for service, _ in who)
        case Kill("deliver"):
            return max_in_flight
        case _:
            return 0


def plan(kind: Kind, seed: int, is_long: bool) -> Scenario:
    """Return the schedule of this kind and seed; a short one unless `is_long`.

    Every second seed has static members. For kills it is the other half of the seeds, so that one
    seed for all kinds covers both forms of membership.
    """
    random = Random(f"{kind}-{seed}")  # a string is hashed by SHA-512: the same everywhere
    is_static = bool(seed % 2) is not (kind is Kind.KILL)
    processes, steps = _DRAWN[kind](random, is_long)
    if is_long:
        return Scenario(kind, seed, is_static, processes, steps)
    return Scenario(kind, seed, is_static, processes, steps, SHORT_RATE_PER_S, 15, gap_s=2.0)


def _groups(random: Random, sizes: tuple[int, ...]) -> list[tuple[str, ...]]:
    """Return the services in a drawn order, in groups of these sizes."""
    order = random.sample(SERVICES, len(SERVICES))
    return [tuple(order.pop() for _ in range(size)) for size in sizes]


def _draw_pauses(random: Random, is_long: bool) -> tuple[int, tuple[Step, ...]]:
    sizes = random.choice([(1, 1, 1, 1), (2, 1, 1), (1, 2, 1), (2, 2)]) if is_long else (2, 2)
    pauses = [*random.sample(PAUSES_S, len(PAUSES_S)), random.choice(PAUSES_S)]
    steps = []
    for group in _groups(random, sizes):
        # In a short schedule deliver's session ends, because deliver has the most to lose.
        short = PAST_SESSION_S if "deliver" in group else random.choice(PAUSES_S[:2])
        who = tuple((service, random.randrange(2)) for service in group)
        steps.append(Pause(who, pauses.pop() if is_long else short))
    return 2, tuple(steps)


def _draw_rebalances(random: Random, is_long: bool) -> tuple[int, tuple[Step, ...]]:
    sizes = random.choice([(1, 1, 2), (2, 2), (1, 3), (4,)]) if is_long else (4,)
    steps: list[Step] = []
    for group in _groups(random, sizes):
        steps.append(Grow(group, GROWN))
        if is_long and random.random() < 0.4:
            steps.append(RestartBroker())
        steps.append(Shrink(group, random.randrange(GROWN)))
    return 1, tuple(steps)


def _draw_kills(random: Random, is_long: bool) -> tuple[int, tuple[Step, ...]]:
    steps: list[Step] = []
    for _ in range(2 if is_long else 1):
        for number, (service,) in enumerate(_groups(random, (1, 1, 1, 1))):
            # Half of them inside a transaction or another step, which a kill rarely hits.
            point = f"{random.choice(NAMES[service])}:{random.randint(1, 20)}"
            steps.append(Kill(service, random.randrange(2), point if number % 2 else ""))
    return 2, tuple(steps)


_DRAWN: Final = {
    Kind.PAUSE: _draw_pauses,
    Kind.REBALANCE: _draw_rebalances,
    Kind.KILL: _draw_kills,
}
