"""The benchmark of the rules as a command: it measures every row and reports if the bar is met."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from bench.__main__ import main
from bench.micro import rules


def test_the_bench_of_the_rules_measures_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "ROUNDS", 2)
    monkeypatch.setattr(rules, "RECIPIENTS", 20)
    done = CliRunner().invoke(main, ["rules"])
    assert done.exit_code in {0, 1}, done.output
    for row in ("scan", "judge", "email", "mailparse"):
        assert row in done.output
