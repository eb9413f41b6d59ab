"""Which process of a test run takes which tests, and when: a scheduler for pytest-xdist.

Job: give a whole module, or all modules of an xdist group, to one process, so that what they share
is started once; the longest first, so that at the end no process has a long one left while the
others have finished; and what mostly waits beside what mostly computes, so that the processors are
busy and not overloaded. Owns: the units and their order. Does not own: the number of processes
(tools/run_tests.py), which modules form a group (their marks), single tests and their order.

On failure: what a process that died had left is given to the others, as pytest-xdist does it. A
unit that is not named below runs after the named ones; none is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from xdist.scheduler import LoadGroupScheduling
from xdist.workermanage import WorkerController

# What takes a minute or more, the longest first; tests/unit/support/test_scheduling.py looks for
# each of them.
LONGEST: Final = (
    "chaos-stage-2",
    "chaos-stage",
    "chaos-scenes",
    "shared-line",
    "tests/chart/",
    "up-line",
    "tests/integration/line/test_up.py",
    "tests/integration/line/test_demo.py",
    "tests/integration/line/test_newcomer.py",
    "tests/chaos/test_orders.py",
    "secured",
    "tests/integration/test_billing_books.py",
    "tests/chaos/test_front_door_away.py",
)
# What mostly waits, for timers, for members of groups or for commands, and needs no pipeline: a
# fifth to a third of a processor each. One process at a time takes these, the longest first.
WAITING: Final = (
    "tests/integration/test_handover.py",
    "tests/integration/test_membership.py",
    "tests/integration/test_counting.py",
    "tests/integration/test_suppressions_cli.py",
    "tests/integration/test_shared_limits.py",
    "tests/integration/test_registry_view.py",
    "tests/integration/test_worker.py",
    "tests/integration/test_returns.py",
    "tests/integration/test_relay.py",
    "tests/integration/test_deliver_push_back.py",
    "tests/integration/test_access_keys.py",
    "tests/integration/test_deliver_hosts.py",
    "tests/integration/test_own_events_topics.py",
    "tests/integration/test_deliver_limits.py",
    "tests/integration/test_proxy_protocol.py",
    "tests/integration/test_remote_words.py",
    "tests/integration/test_deliver_pools.py",
    "tests/integration/test_suppression_view.py",
    "tests/integration/test_held_sweeper.py",
)
# With fewer processes beside it, none is left to wait.
MIN_OTHERS: Final = 2
# Folders that are one unit: the charts rendered for one test are kept for the others.
WHOLE: Final = ("tests/chart/",)
# Then by folder: first what waits for servers, last what is short.
FOLDERS: Final = ("tests/chaos/", "tests/integration/")


class Collection(list[str]):
    """The tests in the order of a process; finds the place of one at once."""

    def __init__(self, nodeids: Sequence[str]) -> None:
        super().__init__(nodeids)
        self._places = {nodeid: place for place, nodeid in enumerate(nodeids)}

    def index(self, nodeid: str, *_: object) -> int:
        """The place of a test."""
        return self._places[nodeid]


class LongestFirst(LoadGroupScheduling):  # type: ignore[misc]  # xdist has no types
    """Distributes groups and modules instead of groups and single tests."""

    def add_node_collection(self, node: WorkerController, collection: Sequence[str]) -> None:
        """Note the tests of a process."""
        super().add_node_collection(node, collection)
        self.registered_collections[node] = Collection(self.registered_collections[node])

    def mark_test_complete(
        self, node: WorkerController, item_index: int, duration: float = 0
    ) -> None:
        """Note that a test has ended; forget its unit with the last one of it.

        All units that a process has are counted after each of its tests.
        """
        unit = unit_of(self.registered_collections[node][item_index])
        tests = self.assigned_work[node][unit]
        if sum(not ended for ended in tests.values()) <= 1:
            del self.assigned_work[node][unit]
            self._reschedule(node)
        else:
            super().mark_test_complete(node, item_index, duration)

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        others = [units for each, units in self.assigned_work.items() if each is not node]
        chosen = choose({unit: next(iter(self.workqueue[unit])) for unit in self.workqueue}, others)
        self.workqueue.move_to_end(chosen, last=False)
        super()._assign_work_unit(node)


def choose(left: Mapping[str, str], others: Sequence[Iterable[str]]) -> str:
    """The next unit for a process: of those that are left, each with one of its tests.

    `others`: what each of the other processes has. One of the processes, if there are three or
    more, takes what mostly waits.
    """
    some_wait = any(unit in WAITING for units in others for unit in units)
    takes_waiting = len(others) >= MIN_OTHERS and not some_wait
    preferred = [unit for unit in left if (unit in WAITING) is takes_waiting]
    return min(preferred or left, key=lambda unit: rank(unit, left[unit]))


def unit_of(nodeid: str) -> str:
    """The group of a test, which pytest-xdist appends to its id, otherwise its folder or module."""
    if nodeid.rfind("@") > nodeid.rfind("]"):
        return nodeid.rpartition("@")[2]
    for folder in WHOLE:
        if nodeid.startswith(folder):
            return folder
    return nodeid.partition("::")[0]


def rank(unit: str, nodeid: str) -> int:
    """The place of a unit with this test in the order; those with the same are in any order."""
    named = (*LONGEST, *WAITING)
    if unit in named:
        return named.index(unit)
    for place, folder in enumerate(FOLDERS, len(named)):
        if nodeid.startswith(folder):
            return place
    return len(named) + len(FOLDERS)
