"""`python -m services.ingest`."""

from services.ingest.settings import Settings
from shared.runtime.service_cli import Running, run_service


def _serve(settings: Settings, running: Running) -> int:
    # The app is imported here and not at the top of the file, because with this import the other
    # subcommands start three times as slowly.
    from services.ingest.app import serve

    return serve(settings, running)


run_service("ingest", Settings, _serve)
