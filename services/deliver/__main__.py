"""`python -m services.deliver`."""

from services.deliver.settings import Settings
from shared.runtime.service_cli import Running, run_service


def _serve(settings: Settings, running: Running) -> int:
    # Imported only here: the other verbs start in a third of the time without it.
    from services.deliver.app import serve

    return serve(settings, running)


run_service("deliver", Settings, _serve)
