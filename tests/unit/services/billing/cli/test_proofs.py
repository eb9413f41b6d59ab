"""What the commands answer for an archive that is damaged."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from services.billing.cli import proofs
from services.billing.core.month import Months
from services.billing.edge import signing_key
from services.billing.edge.archive import ArchivedRecord
from tests.support.billing.archives import LOG, add, files, offsets, record


class Log:
    """mail.events with one partition, of which Kafka has a part."""

    def __init__(self, begin: int, end: int) -> None:
        self._begin, self._end = begin, end

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def id(self) -> str:
        return LOG

    def begins(self) -> dict[int, int]:
        return {0: self._begin}

    def committed_ends(self) -> dict[int, int]:
        return {0: self._end}

    def read(
        self, ends: Mapping[int, int], starts: Mapping[int, int]
    ) -> Iterator[tuple[int, Sequence[ArchivedRecord]]]:
        yield 0, [record(offset) for offset in range(max(self._begin, starts[0]), ends[0])]


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log(0, 40)
    parts = SimpleNamespace(options=None, months=Months(UTC))
    topic = SimpleNamespace(read=lambda: None, close=lambda: None, chain=SimpleNamespace(closed={}))
    monkeypatch.setattr(proofs, "connect_to", lambda _: parts)
    monkeypatch.setattr(proofs, "EventLog", lambda *_, **__: log)
    monkeypatch.setattr(proofs, "StatementTopic", lambda _: topic)
    return log


def archive(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(proofs.archive, ["--to", str(folder), "--json", *options])


@pytest.mark.usefixtures("kafka")
def test_a_check_names_damaged_files_and_adds_what_is_new(tmp_path: Path) -> None:
    add(tmp_path, 20)
    damaged = files(tmp_path)[0]
    content = damaged.read_bytes()
    damaged.write_bytes(content.replace(b"sluice.mail", b"sluice_mail"))
    assert archive(tmp_path).exit_code == 0
    found = archive(tmp_path, "--check")
    assert found.exit_code == 1
    (said,) = json.loads(found.stdout)["damaged"]
    assert str(damaged) in said
    damaged.write_bytes(content)
    assert archive(tmp_path, "--check").exit_code == 0
    assert offsets(tmp_path) == list(range(40))


@pytest.mark.usefixtures("kafka")
def test_a_damaged_file_that_was_removed_is_read_again(tmp_path: Path) -> None:
    add(tmp_path, 20)
    files(tmp_path)[0].unlink()
    found = archive(tmp_path)
    assert found.exit_code == 0
    assert json.loads(found.stdout)["filled"] == [{"partition": 0, "begin": 0, "end": 20}]
    assert offsets(tmp_path) == list(range(40))


def test_a_proof_from_a_damaged_archive_fails_as_a_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(tmp_path, 20)
    (tmp_path / "statements" / "2026-10.json").write_bytes(b"{")
    monkeypatch.setattr(signing_key, "load_public", lambda _: "")
    arguments = ["2026-10", "--archive", str(tmp_path), "--public-key", "key.pem", "--json"]
    found = CliRunner().invoke(proofs.verify_statement, arguments)
    assert found.exit_code == 1
    assert "2026-10.json: the statement is damaged" in json.loads(found.stdout)["error"]
