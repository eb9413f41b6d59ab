"""The messages of a background process that starts a pipeline."""

from __future__ import annotations

from pathlib import Path

from local.detached import MessageReader


def test_each_message_is_read_once_and_an_incomplete_line_later(tmp_path: Path) -> None:
    log = tmp_path / "up.log"
    log.write_bytes(b"sluice: kafka is ready after 8 s\nsluice: redis is")
    messages = MessageReader(log)
    assert messages.read() == ["kafka is ready after 8 s"]
    assert messages.read() == []
    with log.open("ab") as file:
        file.write(b" ready after 1 s\n")
    assert messages.read() == ["redis is ready after 1 s"]


def test_other_lines_of_the_log_are_not_messages(tmp_path: Path) -> None:
    log = tmp_path / "up.log"
    log.write_bytes(b"the pipeline is up:\n  kafka  127.0.0.1:1\nsluice: one \xff\n")
    assert MessageReader(log).read() == ["one \N{REPLACEMENT CHARACTER}"]
