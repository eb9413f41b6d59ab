"""A short slice of each fuzzing target with a fixed seed, and a check that fuzzing finds faults."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tests.fuzz import engine, mail_grammar
from tests.fuzz.__main__ import NAMES
from tests.fuzz.engine import Target
from tests.fuzz.mail_targets import check_message
from tests.fuzz.targets import TARGETS

RUNS = {"headers": 4_000, "addresses": 4_000, "sessions": 2_000, "answers": 2_500, "records": 4_000}


@pytest.mark.parametrize("name", TARGETS)
def test_a_slice_finds_nothing(name: str) -> None:
    report, failures = engine.run(TARGETS[name], RUNS[name], 20_261_124, None)
    assert not failures, failures[0].content
    assert report.outcomes > 20
    assert report.rss_end_kb - report.rss_warm_kb < 64_000


def test_every_target_can_be_run_by_hand() -> None:
    assert set(NAMES) == set(TARGETS) == set(RUNS)


def test_a_slice_is_the_same_again_with_its_seed() -> None:
    seen: list[list[bytes]] = [[], []]
    for inputs in seen:
        target = Target("addresses", TARGETS["addresses"].make, inputs.append)
        engine.run(target, 200, 7, None)
    assert seen[0] == seen[1]


def test_a_fault_is_found_and_told(tmp_path: Path) -> None:
    def check(content: bytes) -> int:
        check_message(content)
        assert b"\0" not in content
        return len(content)

    report, failures = engine.run(Target("x", mail_grammar.message, check), 2_000, 1, tmp_path)
    assert report.failures == len(failures) == 10
    assert all(b"\0" in failure.content for failure in failures)
    assert {path.read_bytes() for path in tmp_path.iterdir()} == set(engine.load(tmp_path))
    assert len(engine.load(tmp_path)) == report.kept


def test_the_grammar_makes_what_passes_and_what_does_not() -> None:
    outcomes = {check_message(TARGETS["headers"].make(Random(seed))) for seed in range(300)}
    assert ("", (), "", "") in outcomes
    assert len(outcomes) > 40


def test_wrong_use_is_told_in_a_line() -> None:
    command = [sys.executable, "-m", "tests.fuzz", "headers", "--runs", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("--runs must be 1 or more, not 0")


def test_the_command_of_the_docs_runs_a_slice_and_keeps_its_corpus(tmp_path: Path) -> None:
    corpus = tmp_path / "headers"
    command = [sys.executable, "-m", "tests.fuzz", "headers", "--runs", "300", "--seed", "1"]
    done = subprocess.run(
        [*command, "--corpus", str(corpus)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "300" in done.stdout
    assert list(corpus.iterdir())
