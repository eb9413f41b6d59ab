"""The benchmark of understanding returned mail as a command: its rows, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.__main__ import main
from bench.micro import responses, returned_path
from shared.responses.rules.loading import load_rules
from shared.runtime.errors import Exit
from shared.topics.codec import decode_pack
from tests.support.returned_mail import delivery_report


def test_the_bench_measures_each_step_their_sum_and_the_peer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(responses, "ROUNDS", 2)
    (tmp_path / "one.eml").write_bytes(b"From: a@shop.example\nSubject: Re: Offers\n\nThanks.\n")
    done = CliRunner().invoke(main, ["responses", str(tmp_path)])
    assert done.exit_code in {0, 1}, done.output
    for row in ("understanding", "with event", "counting", "in all", "email", "1 messages of"):
        assert row in done.output


def test_every_report_of_a_failure_that_is_measured_is_counted_and_forwarded() -> None:
    rules = load_rules()
    messages = [delivery_report(f"{number}@people.example") for number in range(3)]
    records = returned_path.records_of(messages, rules)
    written = returned_path.process(returned_path.processor_of(rules), records)
    assert len(returned_path.count(returned_path.events_of(written))) == len(messages)
    packs = [decode_pack(each.value, each.headers) for each in written if "outbound" in each.topic]
    assert sum(map(len, packs)) == len(messages)


def test_the_samples_of_the_tests_are_the_default() -> None:
    assert len(responses.load(None)) > 100


def test_a_folder_without_messages_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["responses", str(tmp_path)])
    assert done.exit_code == Exit.USAGE_ERROR
    assert "the folder has no *.eml file" in done.output
