"""The certificates of the doors, from their settings."""

from __future__ import annotations

from services.ingest.settings import IngestSettings
from shared.runtime.errors import UsageError
from shared.runtime.reloaded_files import Certificates


def load_pair(settings: IngestSettings, certificate: str, key: str) -> Certificates | None:
    """Load the files that these two settings name; None if neither is set. Raises UsageError."""
    paths = getattr(settings, certificate), getattr(settings, key)
    if not any(paths):
        return None
    if not all(paths):
        raise UsageError(f"ingest.{certificate} and ingest.{key} must be set together")
    return Certificates(*paths, f"ingest.{certificate}, ingest.{key}")
