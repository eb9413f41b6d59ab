"""`python -m services.validate`."""

from services.validate.settings import Settings
from shared.runtime.service_cli import Running, add_role, run_cli, service_cli


def _serve(settings: Settings, running: Running) -> int:
    # The validate service is imported only here, so that the other commands start three times
    # faster.
    from services.validate.app import serve

    return serve(settings, running)


def _serve_responses(settings: Settings, running: Running) -> int:
    from services.validate.responses_app import serve_responses

    return serve_responses(settings, running)


def _serve_api(settings: Settings, running: Running) -> int:
    from services.validate.api_app import serve_api

    return serve_api(settings, running)


group = service_cli("validate", Settings, _serve)
add_role(
    group,
    "responses",
    Settings,
    _serve_responses,
    "Read returned mail and count bounces until SIGTERM; validate.counts_bounces may then be off.",
)
add_role(
    group,
    "api",
    Settings,
    _serve_api,
    "Serve the HTTP API for platforms, and the unsubscribe page, until SIGTERM.",
)
run_cli(group)
