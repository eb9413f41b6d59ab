"""`python -m services.ingest`."""

from services.ingest.settings import Settings
from shared.runtime.service_cli import Running, run_service


def _serve(settings: Settings, running: Running) -> int:
    # The app is imported here and not at the top of the file, because an import at the top would
    # make the start of the other subcommands three times as slow.
    from services.ingest.app import serve

    return serve(settings, running)


run_service("ingest", Settings, _serve)
