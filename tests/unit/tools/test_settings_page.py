"""Merging the services' settings and rendering the reference page."""

from __future__ import annotations

import msgspec

from cli.config.command import SharedRow, merge
from shared.settings.describe import Row
from tools.docs import render


def row(key: str, default: object = 1) -> Row:
    return Row(key, default, "default", default, "a | number", "What\n it does.", "SLUICE_X")


def test_rows_that_services_read_alike_become_one_in_the_order_of_the_sections() -> None:
    merged = merge(
        {
            "ingest": [row("ingest.a"), row("kafka.a"), row("kafka.b")],
            "deliver": [row("kafka.a"), row("kafka.b", 2)],
        }
    )
    assert [(shared.row.key, shared.row.default, shared.services) for shared in merged] == [
        ("kafka.a", 1, ("ingest", "deliver")),
        ("kafka.b", 1, ("ingest",)),
        ("kafka.b", 2, ("deliver",)),
        ("ingest.a", 1, ("ingest",)),
    ]


def test_the_page_has_a_table_for_each_section() -> None:
    rows = [
        SharedRow(row("kafka.a"), ("ingest", "deliver")),
        SharedRow(row("ingest.a", {"b": [None]}), ("ingest",)),
    ]
    page = render(rows)
    assert "\n## kafka\n\nRead by ingest, deliver.\n" in page
    assert '| `ingest.a` | `{"b":[null]}` | a \\| number | What it does. |\n' in page


def test_a_row_survives_the_json_by_which_services_tell_it() -> None:
    one = row("kafka.a", {"x": [1, None]})
    assert msgspec.json.decode(msgspec.json.encode(one), type=Row) == one
