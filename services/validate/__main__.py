"""`python -m services.validate`."""

from services.validate.app import serve
from services.validate.settings import Settings
from shared.runtime.service_cli import run_service

run_service("validate", Settings, serve)
