"""The benchmark of the suppressed recipients as a command."""

from __future__ import annotations

import json

from click.testing import CliRunner

from bench.__main__ import main


def test_the_bench_of_the_suppressions_measures_every_figure() -> None:
    done = CliRunner().invoke(main, ["suppressions", "--recipients", "1000", "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result.pop("recipients") == 1_000
    assert all(figure > 0 for figure in result.values())
