"""Several messages that are taken at once are those that would be taken one after the other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.deliver.core.pool.waiting import Waiting


class CountingGate:
    """Admits so many messages; notes how many waited at each question."""

    def __init__(self, admits: int, then: float) -> None:
        self._admits = admits
        self._then = then
        self.waiting = 0
        self.asked: list[tuple[str, int]] = []

    def admit(self, message: str, now: float, waiting: int) -> float:
        self.asked.append((message, waiting))
        if not self._admits:
            return self._then
        self._admits -= 1
        return 0.0

    def joined(self, count: int) -> None:
        self.waiting += count


Taken = list[tuple[str, float]]


def one_after_the_other(lines: Waiting[str], most: int) -> Taken:
    found: Taken = []
    while len(found) < most and len(lines) and (taken := lines.take(0.0)) is not None:
        found.append(taken[:2])
    return found


def at_once(lines: Waiting[str], most: int) -> Taken:
    return [taken[:2] for taken in lines.take_ready(0.0, most)]


ADMITS = st.lists(st.integers(0, 5), min_size=1, max_size=3)


@given(ADMITS, st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(1, 9))
def test_the_same_messages_are_taken_in_the_same_order(
    admits: list[int], lines_of: list[int], most: int
) -> None:
    results = []
    for take in (one_after_the_other, at_once):
        gates = [CountingGate(each, 5.0 + number) for number, each in enumerate(admits)]
        lines: Waiting[str] = Waiting()
        for number, line in enumerate(lines_of):
            gate = gates[line] if line < len(gates) else None
            lines.add(str(number), float(number), gate)
        taken = take(lines, most)
        waiting = [gate.waiting for gate in gates]
        asked = [gate.asked for gate in gates]
        # When there was nothing more to take, the planner asks when to come again.
        again_at = lines.blocked_until if len(taken) < most else 0.0
        results.append((taken, waiting, asked, again_at, len(lines), lines.take_older(99.0)))
    assert results[0] == results[1]
