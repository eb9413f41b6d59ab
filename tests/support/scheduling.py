"""Which process of a test run takes which tests, and when: a scheduler for pytest-xdist.

Job: give a whole module, or all modules of an xdist group, to one process, so that what they share
is started once; and the longest first, so that at the end no process has a long one left while the
others have finished. Owns: the units and their order. Does not own: the number of processes
(tools/run_tests.py), which modules form a group (their marks), single tests and their order.

On failure: what a process that died had left is given to the others, as pytest-xdist does it. A
unit that is not named below runs after the named ones; none is left out.
"""

from __future__ import annotations

from typing import Final

from xdist.scheduler import LoadGroupScheduling
from xdist.workermanage import WorkerController

# What takes a minute or more, the longest first; tests/unit/support/test_scheduling.py looks for
# each of them.
LONGEST: Final = (
    "chaos-stage-2",
    "chaos-stage",
    "chaos-scenes",
    "tests/integration/test_handover.py",
    "shared-line",
    "tests/chart/",
    "tests/integration/line/test_up.py",
    "tests/integration/line/test_demo.py",
    "tests/integration/line/test_newcomer.py",
    "tests/integration/test_membership.py",
    "tests/integration/test_counting.py",
    "tests/chaos/test_orders.py",
    "secured",
    "tests/integration/test_billing_books.py",
    "tests/chaos/test_front_door_away.py",
)
# Folders that are one unit: the charts rendered for one test are kept for the others.
WHOLE: Final = ("tests/chart/",)
# Then by folder: first what waits for servers, last what is short.
FOLDERS: Final = ("tests/chaos/", "tests/integration/")


class LongestFirst(LoadGroupScheduling):  # type: ignore[misc]  # xdist has no types
    """Distributes groups and modules instead of groups and single tests."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        longest = min(self.workqueue, key=lambda unit: rank(unit, next(iter(self.workqueue[unit]))))
        self.workqueue.move_to_end(longest, last=False)
        super()._assign_work_unit(node)


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
    if unit in LONGEST:
        return LONGEST.index(unit)
    for place, folder in enumerate(FOLDERS, len(LONGEST)):
        if nodeid.startswith(folder):
            return place
    return len(LONGEST) + len(FOLDERS)
