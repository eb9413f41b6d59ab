"""The settings of all services in one list."""

from __future__ import annotations

from cli.config.service_settings import in_lines_of, merge
from shared.settings.describe import Row


def row(key: str, value: object, origin: str = "default") -> Row:
    return Row(key, value, origin, None, "", "", "")


def test_what_services_read_differently_stands_together_and_names_them() -> None:
    port, level = row("telemetry.http_port", 0), row("runtime.log_level", "info")
    merged = merge(
        {
            "ingest": [
                row("runtime.instance", "a", "file x"),
                row("runtime.log_level", "info"),
                port,
            ],
            "deliver": [row("runtime.instance", "b"), level, port],
            "billing": [row("runtime.instance", "b"), level],
        }
    )
    assert in_lines_of(merged) == [
        'runtime.instance    = "a"  (file x; ingest)',
        'runtime.instance    = "b"  (default; deliver, billing)',
        'runtime.log_level   = "info"  (default)',
        "telemetry.http_port = 0  (default)",
    ]
