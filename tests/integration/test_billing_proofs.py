"""A statement is proved from Kafka, or from an archive when Kafka no longer has its events."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.billing.core.closing.statement import encode_public
from services.billing.edge.archive import Archive
from services.billing.edge.archive_writing import ArchiveWriter
from services.billing.edge.recounting import JoinedLog, recount
from services.billing.edge.verifying import KafkaEvents, Proof, verify
from shared.audit.event_log import EventLog
from shared.runtime.errors import PartUnavailable, UsageError
from tests.support.billing.stage import (
    NOVEMBER_MS,
    OCTOBER_MS,
    UTC_MONTHS,
    Stage,
    open_stage,
)

KEY = Ed25519PrivateKey.generate()
PUBLIC = encode_public(KEY.public_key())


@pytest.fixture
def stage(kafka_bootstrap: str, redis_url: str) -> Iterator[Stage]:
    with open_stage(kafka_bootstrap, redis_url) as found:
        yield found


def close(stage: Stage) -> None:
    stage.count_all()
    with stage.closer(key=KEY) as closer:
        closer.close(closer.due(), "automatic")


def prove(stage: Stage, month: str, trusted: list[str]) -> Proof:
    with EventLog(stage.options, stage.topic) as log, stage.statement_topic() as topic:
        topic.read()
        return verify(month, topic.chain, KafkaEvents(log), lambda _: UTC_MONTHS, trusted)


def add_to_archive(stage: Stage, folder: Path) -> ArchiveWriter:
    with EventLog(stage.options, stage.topic) as log, stage.statement_topic() as topic:
        topic.read()
        writer = ArchiveWriter(folder, log.id(), UTC_MONTHS, log.begins)
        ends = log.committed_ends()
        for partition, records in log.read(ends, writer.starts()):
            writer.add(partition, records)
        writer.finish(ends)
        for month in topic.chain.closed.values():
            writer.add_statement(month)
        return writer


def prove_from(folder: Path, month: str) -> Proof:
    archive = Archive(folder)
    return verify(month, archive.chain(), archive, lambda _: UTC_MONTHS, [PUBLIC])


def test_statements_with_adjustments_are_proved_from_kafka(stage: Stage) -> None:
    stage.publish(30, OCTOBER_MS, size_bytes=7)
    close(stage)
    stage.publish(20, NOVEMBER_MS)
    stage.publish(5, OCTOBER_MS)
    stage.publish_raw(b"{", [("ce_type", b"sluice.mail.delivered")])
    close(stage)
    for month in ("2026-10", "2026-11"):
        proof = prove(stage, month, [PUBLIC])
        assert proof.proved, proof
        assert proof.signed


def test_a_statement_whose_counts_are_not_those_of_the_events_is_not_proved(stage: Stage) -> None:
    stage.publish(3, OCTOBER_MS)
    stage.count_all()
    (cell,) = [each for each in stage.cells.read("2026-10").months["2026-10"] if "billed" in each]
    stage.store.hincrby(f"{stage.state}:2026-10", cell, 1)
    close(stage)
    proof = prove(stage, "2026-10", [PUBLIC])
    assert not proof.proved
    assert [(each.counter, each.stated, each.counted) for each in proof.differences] == [
        ("billed", 4, 3)
    ]


def test_a_month_that_is_not_closed_cannot_be_proved(stage: Stage) -> None:
    with pytest.raises(UsageError, match="2026-10 is not closed"):
        prove(stage, "2026-10", [])


def test_an_archive_proves_what_kafka_has_deleted(stage: Stage, tmp_path: Path) -> None:
    stage.publish(30, OCTOBER_MS)
    add_to_archive(stage, tmp_path)
    stage.publish(20, NOVEMBER_MS)
    close(stage)
    writer = add_to_archive(stage, tmp_path)
    assert writer.gaps == []
    stage.delete_events(12)
    proof = prove(stage, "2026-10", [PUBLIC])
    assert not proof.proved
    assert "an archive may have them" in proof.faults[0]
    proof = prove_from(tmp_path, "2026-10")
    assert proof.proved, proof
    assert proof.records == 50
    assert not stage.recount().agree
    with EventLog(stage.options, stage.topic) as log:
        stage.publish(4, NOVEMBER_MS)
        stage.count_all()
        report = recount(JoinedLog(Archive(tmp_path), log), stage.cells, UTC_MONTHS)
    assert report.agree, report
    assert report.records == 54


def test_an_archive_adds_only_what_is_new_and_survives_a_process_that_died(
    stage: Stage, tmp_path: Path
) -> None:
    stage.publish(30, OCTOBER_MS)
    add_to_archive(stage, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.glob("events/*/*")}
    (tmp_path / "events" / "0-00000000000000000030.partial").write_bytes(b"PAR1 cut off")
    add_to_archive(stage, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.glob("events/*/*")} == before
    stage.publish(3, OCTOBER_MS)
    add_to_archive(stage, tmp_path)
    assert not list(tmp_path.glob("events/*.partial"))
    archive = Archive(tmp_path)
    assert sum(len(records) for _, records in archive.read(archive.ends())) == 33
    assert archive.gaps() == []


def test_events_that_were_deleted_before_they_were_archived_leave_a_gap_that_is_shown(
    stage: Stage, tmp_path: Path
) -> None:
    stage.publish(10, OCTOBER_MS)
    add_to_archive(stage, tmp_path)
    stage.publish(60, OCTOBER_MS)
    stage.count_all()
    stage.delete_events(20)
    writer = add_to_archive(stage, tmp_path)
    assert writer.gaps
    assert Archive(tmp_path).gaps() == writer.gaps
    close(stage)
    add_to_archive(stage, tmp_path)
    proof = prove_from(tmp_path, "2026-10")
    assert not proof.proved
    assert any("are missing" in fault for fault in proof.faults)


def test_events_that_are_deleted_while_they_are_read_are_not_passed_over(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.publish(30, OCTOBER_MS)
    stage.count_all()
    with EventLog(stage.options, stage.topic, is_strict=True) as log:
        # As they were asked for before the deletion.
        ends, begins = log.committed_ends(), log.begins()
        monkeypatch.setattr(log, "begins", lambda: begins)
        stage.delete_events(12)
        with pytest.raises(PartUnavailable, match="deleted while they were read"):
            list(log.read(ends))


def test_an_archive_of_another_topic_is_refused(stage: Stage, tmp_path: Path) -> None:
    stage.publish(1, OCTOBER_MS)
    add_to_archive(stage, tmp_path)
    with pytest.raises(UsageError, match="has events of the topic"):
        ArchiveWriter(tmp_path, "another", UTC_MONTHS, dict)


def test_a_folder_that_is_not_there_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such folder"):
        Archive(tmp_path / "nothing")


def test_an_archived_statement_that_was_changed_is_not_proved(stage: Stage, tmp_path: Path) -> None:
    stage.publish(3, OCTOBER_MS)
    close(stage)
    add_to_archive(stage, tmp_path)
    header = tmp_path / "statements" / "2026-10.json"
    header.write_bytes(header.read_bytes().replace(b'"billed":3', b'"billed":2'))
    proof = prove_from(tmp_path, "2026-10")
    assert not proof.proved
    assert "its signature is wrong" in proof.faults
