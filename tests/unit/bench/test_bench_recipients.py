"""The benchmark of the bounce door's recipients: what it counts, not how long it takes."""

from __future__ import annotations

import json

from click.testing import CliRunner

from bench.__main__ import main
from bench.micro import recipients


def test_forged_recipients_are_refused_and_none_is_written() -> None:
    result = recipients.measure(2_000)
    accepted = {row.kind: row.accepted for row in result.rows}
    assert accepted == {
        "forged": 0,
        "forged, with an existing key": 0,
        "expired": 0,
        "domain of nobody": 0,
        "verified": 200,
        "From address": 200,
    }
    assert sum(row.written for row in result.rows) == 0
    assert "forged" in recipients.described(result)


def test_the_command_prints_one_json_document() -> None:
    answer = CliRunner().invoke(main, ["recipients", "--count", "100", "--json"])
    rows = json.loads(answer.output)["rows"]
    assert [row["count"] for row in rows] == [50, 50, 10, 10, 10, 10]
