"""What a worker claims again after the keys were restored, also if Redis fails meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from services.validate.edge.submission_keys import Run, SubmissionKeys
from shared.store.client import StoreUnavailable
from shared.store.submissions import Claimed, NotWhole, Renewed
from shared.stream.relay import NotReady
from shared.topics.submission_keys import NEW, Claim

FIRST = Claim(b"a" * 11, b"1" * 16, b"same", 1)
SECOND = Claim(b"b" * 11, b"2" * 16, b"same", 2)


class Scripted:
    """A store and its reader in one: returns scripted answers and records the requests."""

    def __init__(self, *answers: Claimed | Renewed | NotWhole | StoreUnavailable) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, list[Claim]]] = []

    def store(self) -> Scripted:
        return self

    def want(self) -> None:
        return

    def fault(self) -> str:
        return ""

    def claim(
        self,
        claims: Sequence[Claim],
        generation: str,
        seen: Mapping[int, int],
        ends: Mapping[int, int],
    ) -> Claimed | Renewed | NotWhole:
        self.asked.append((generation, list(claims)))
        answer = self.answers.pop(0)
        if isinstance(answer, StoreUnavailable):
            raise answer
        return answer


def claimed(generation: str) -> Claimed:
    return Claimed(generation, (NEW,))


@pytest.mark.parametrize("fault", [StoreUnavailable("gone"), NotWhole()], ids=["away", "not whole"])
def test_a_fault_while_the_last_batch_is_claimed_again_does_not_lose_it(
    fault: StoreUnavailable | NotWhole,
) -> None:
    store = Scripted(
        claimed("one"),
        Renewed("two"),
        fault,
        Renewed("two"),
        claimed("two"),
        claimed("two"),
    )
    keys = SubmissionKeys(store)  # type: ignore[arg-type]
    assert keys.claim(Run([FIRST], {0: 1})) == [NEW]
    with pytest.raises(NotReady):
        keys.claim(Run([SECOND], {0: 2}))
    assert keys.claim(Run([SECOND], {0: 2})) == [NEW]
    assert store.asked[-3:] == [("one", [SECOND]), ("two", [FIRST]), ("two", [SECOND])]
