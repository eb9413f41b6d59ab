"""The benchmark of one-click unsubscribing: that every click is written, not how long it takes."""

from __future__ import annotations

import json

from click.testing import CliRunner

from bench import unsubscribe
from bench.__main__ import main


def test_every_click_of_the_benchmark_is_answered() -> None:
    options = ["--requests", "100", "--connections", "4", "--json"]
    answer = CliRunner().invoke(main, ["unsubscribe", *options])
    document = json.loads(answer.stdout)
    assert (document["requests"], document["failed"]) == (100, 0)
    assert "100 clicks over 4" in unsubscribe.described(unsubscribe.Result(**document))
