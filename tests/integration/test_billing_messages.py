"""The mail ids behind a number, from real Kafka and from an archive: as many as were counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.billing.core.usage_messages import Wanted
from services.billing.edge.archive import Archive
from services.billing.edge.archive_writing import ArchiveWriter
from services.billing.edge.messages import OtherEvents, list_messages
from services.billing.edge.recounting import JoinedLog
from shared.audit.event_log import EventLog
from tests.support.billing.stage import (
    JANUARY_5_MS,
    NOVEMBER_MS,
    OCTOBER_MS,
    UTC_MONTHS,
    Stage,
    open_stage,
)

JANUARY_2031_MS = JANUARY_5_MS + 4 * 365 * 86_400_000


@pytest.fixture
def stage(kafka_bootstrap: str, redis_url: str) -> Iterator[Stage]:
    with open_stage(kafka_bootstrap, redis_url) as found:
        yield found


def archive(stage: Stage, folder: Path) -> None:
    with EventLog(stage.options, stage.topic) as log:
        writer = ArchiveWriter(folder, log.id(), UTC_MONTHS, log.begins)
        ends = log.committed_ends()
        for partition, records in log.read(ends, writer.starts()):
            writer.add(partition, records)
        writer.finish(ends)


def listed(
    stage: Stage, month: str, folder: Path | None = None, *, from_start: bool = False
) -> int:
    """How many different mails are listed."""
    counted = stage.cells.read()
    with EventLog(stage.options, stage.topic) as log:
        source = log if folder is None else JoinedLog(Archive(folder), log)
        place = (counted.log, counted.watermarks)
        wanted = Wanted(month, "billed", client="shop")
        found = list_messages(source, wanted, UTC_MONTHS, place, from_start=from_start)
        return len({mail.mail_id for mail in found})


def test_as_many_ids_are_listed_as_were_counted(stage: Stage, tmp_path: Path) -> None:
    stage.publish(30, OCTOBER_MS)
    stage.publish(20, NOVEMBER_MS)
    stage.publish(4, JANUARY_2031_MS)
    stage.count_all()
    # What is committed and not counted yet is in no number.
    stage.publish(5, NOVEMBER_MS)
    assert stage.billed() == {"2026-10": 30, "2026-11": 20, "2031-01": 4}
    assert (listed(stage, "2026-10"), listed(stage, "2026-11")) == (30, 20)
    # An event that is dated in the future was stored before its month.
    assert listed(stage, "2031-01") == 0
    assert listed(stage, "2031-01", from_start=True) == 4

    archive(stage, tmp_path)
    stage.delete_events(below=10)
    assert listed(stage, "2026-10") < 30
    assert listed(stage, "2026-10", tmp_path) == 30
    assert listed(stage, "2031-01", tmp_path, from_start=True) == 4


def test_the_events_of_another_log_are_not_listed(stage: Stage) -> None:
    stage.publish(1, OCTOBER_MS)
    stage.count_all()
    with EventLog(stage.options, stage.topic) as log, pytest.raises(OtherEvents):
        list(list_messages(log, Wanted("2026-10", "billed"), UTC_MONTHS, ("other", {0: 1})))
