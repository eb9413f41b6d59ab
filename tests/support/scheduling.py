"""A scheduler for pytest-xdist: decides which process of a test run gets which tests, and when.

Job: give a whole module, or all modules of an xdist group, to one process, so that their shared
resources are started once. The longest units run first, so that no process has a long unit left
when the others have finished. Units that mostly wait run beside units that mostly compute, so that
the processors are busy but not overloaded. Owns: the units and their order. Does not own: the
number of processes (tools/run_tests.py), the groups (marks of the modules), the order of tests.

On failure: if a process dies, pytest-xdist gives its remaining tests to the other processes. Units
that are not listed below run after the listed units; no unit is omitted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from xdist.scheduler import LoadGroupScheduling
from xdist.workermanage import WorkerController

# Units that take a minute or more, the longest first; tests/unit/support/test_scheduling.py checks
# that each of them exists.
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
# Units that mostly wait (for timers, members of groups or commands) and need no pipeline. Each uses
# a fifth to a third of a processor. One process at a time runs these units, the longest first.
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
# With fewer other processes, no process is reserved for units that mostly wait.
MIN_OTHERS: Final = 2
# Folders that are one unit, because a chart that one test renders is reused by other tests.
WHOLE: Final = ("tests/chart/",)
# Other units are sorted by folder: tests that wait for servers come first, short tests last.
FOLDERS: Final = ("tests/chaos/", "tests/integration/")


class Collection(list[str]):
    """The tests in the order of a process; index() needs no search."""

    def __init__(self, nodeids: Sequence[str]) -> None:
        super().__init__(nodeids)
        self._places = {nodeid: place for place, nodeid in enumerate(nodeids)}

    def index(self, nodeid: str, *_: object) -> int:
        """Return the place of a test."""
        return self._places[nodeid]


class LongestFirst(LoadGroupScheduling):  # type: ignore[misc]  # xdist has no types
    """Distributes groups and modules instead of groups and single tests."""

    def add_node_collection(self, node: WorkerController, collection: Sequence[str]) -> None:
        """Store the tests of a process."""
        super().add_node_collection(node, collection)
        self.registered_collections[node] = Collection(self.registered_collections[node])

    def mark_test_complete(
        self, node: WorkerController, item_index: int, duration: float = 0
    ) -> None:
        """Record that a test has ended; remove its unit after the unit's last test.

        After each test, pytest-xdist counts all units of the process.
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
    """Return the next unit for a process. `left` has the remaining units, with one test of each.

    `others` are the units of each other process. If there are three or more processes, one of them
    runs the units that mostly wait.
    """
    some_wait = any(unit in WAITING for units in others for unit in units)
    takes_waiting = len(others) >= MIN_OTHERS and not some_wait
    preferred = [unit for unit in left if (unit in WAITING) is takes_waiting]
    return min(preferred or left, key=lambda unit: rank(unit, left[unit]))


def unit_of(nodeid: str) -> str:
    """Return the group of a test, which xdist appends to its id, or its folder or module."""
    if nodeid.rfind("@") > nodeid.rfind("]"):
        return nodeid.rpartition("@")[2]
    for folder in WHOLE:
        if nodeid.startswith(folder):
            return folder
    return nodeid.partition("::")[0]


def rank(unit: str, nodeid: str) -> int:
    """Return the place in the order of a unit with this test; equal places have no fixed order."""
    named = (*LONGEST, *WAITING)
    if unit in named:
        return named.index(unit)
    for place, folder in enumerate(FOLDERS, len(named)):
        if nodeid.startswith(folder):
            return place
    return len(named) + len(FOLDERS)
