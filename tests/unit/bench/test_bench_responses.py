"""The benchmark of understanding returned mail as a command: its rows, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.__main__ import main
from bench.micro import responses
from shared.runtime.exits import Exit


def test_the_bench_measures_understanding_and_its_peer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(responses, "ROUNDS", 2)
    (tmp_path / "one.eml").write_bytes(b"From: a@shop.example\nSubject: Re: Offers\n\nThanks.\n")
    done = CliRunner().invoke(main, ["responses", str(tmp_path)])
    assert done.exit_code in {0, 1}, done.output
    for row in ("understanding", "email", "1 messages of"):
        assert row in done.output


def test_the_samples_of_the_tests_are_the_default() -> None:
    assert len(responses.load(None)) > 100


def test_a_folder_without_messages_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["responses", str(tmp_path)])
    assert done.exit_code == Exit.USAGE_ERROR
    assert "no *.eml in it" in done.output
