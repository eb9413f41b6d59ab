"""`python -m services.ingest`."""

from services.ingest.settings import Settings
from shared.runtime.service_cli import Running, run_service


def _serve(settings: Settings, running: Running) -> int:
    # The import stands here, because at the top it would make the other verbs start three times as
    # slowly.
    from services.ingest.app import serve

    return serve(settings, running)


run_service("ingest", Settings, _serve)
