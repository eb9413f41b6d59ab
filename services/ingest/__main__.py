"""`python -m services.ingest`."""

from services.ingest.settings import Settings
from shared.runtime.service_cli import Running, run_service


def _serve(settings: Settings, running: Running) -> int:
    # Imported only here: with this import, the other verbs would take three times as long to start.
    from services.ingest.app import serve

    return serve(settings, running)


run_service("ingest", Settings, _serve)
