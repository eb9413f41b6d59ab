"""`python -m services.deliver`."""

from services.deliver.app import serve
from services.deliver.settings import Settings
from shared.runtime.service_cli import run_service

run_service("deliver", Settings, serve)
