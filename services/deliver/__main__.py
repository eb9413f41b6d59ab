"""`python -m services.deliver`."""

from services.deliver.settings import Settings
from shared.runtime.service_cli import Running, run_service


def _serve(settings: Settings, running: Running) -> int:
    # The import is here, because the other verbs start three times as fast without this module.
    from services.deliver.app import serve

    return serve(settings, running)


run_service("deliver", Settings, _serve)
