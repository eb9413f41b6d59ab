"""Generates files of the Helm chart: facts about services, the schema of the settings, the README.

A test fails if a generated file differs from the code (tests/chart/test_generated.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cli.stack import paths
from tools.chart import components, readme, settings_schema

CHART: Final = paths.ROOT / "helm"


def pages() -> dict[Path, str]:
    """Return the text of each generated file."""
    schema = CHART / "values.schema.json"
    return {
        CHART / "files" / "components.json": components.components(),
        CHART / "files" / "topics.json": components.topics(),
        schema: settings_schema.with_settings(schema.read_text("utf-8")),
        CHART / "README.md": readme.page((CHART / "values.yaml").read_text("utf-8")),
    }
