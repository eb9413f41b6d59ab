"""`python -m services.validate`."""

from services.validate.api_app import serve_api
from services.validate.app import serve
from services.validate.responses_app import serve_responses
from services.validate.settings import Settings
from shared.runtime.service_cli import add_role, run_cli, service_cli

group = service_cli("validate", Settings, serve)
add_role(
    group,
    "responses",
    Settings,
    serve_responses,
    "Read returned mail and count bounces until SIGTERM; validate.counts_bounces may then be off.",
)
add_role(
    group,
    "api",
    Settings,
    serve_api,
    "Serve the HTTP API for platforms and the page for unsubscribing until SIGTERM.",
)
run_cli(group)
