import pytest

from shared.runtime.failpoints import NAMES, FailpointError, Failpoints


def test_the_process_ends_at_the_passing_asked_for() -> None:
    ended: list[str] = []
    points = Failpoints.parse("ingest.polled:3,deliver.begun", end=ended.append)
    for _ in range(2):
        points.hit("ingest.polled")
    assert ended == []
    points.hit("ingest.polled")
    points.hit("ingest.polled")
    points.hit("deliver.begun")
    assert ended == ["ingest.polled", "deliver.begun"]


def test_nothing_ends_when_nothing_is_armed() -> None:
    points = Failpoints.parse("")
    for names in NAMES.values():
        for name in names:
            points.hit(name)


@pytest.mark.parametrize("text", ["ingest.nowhere:1", "ingest.polled:0", "ingest.polled:x", ":1"])
def test_a_failpoint_that_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(FailpointError, match="SLUICE_FAILPOINT"):
        Failpoints.parse(text)
