"""The benchmark of the rebuilt view: that it is complete, not how long it takes."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from bench import suppressions_rebuild
from bench.__main__ import main


@pytest.mark.long
def test_the_bench_of_the_rebuilt_view_measures_every_figure() -> None:
    done = CliRunner().invoke(main, ["suppressions-rebuild", "--recipients", "20000", "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert all(figure > 0 for figure in document.values())
    text = suppressions_rebuild.described(suppressions_rebuild.Result(**document))
    assert text.startswith("20000 suppressed recipients: written to Kafka in")
