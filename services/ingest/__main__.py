"""`python -m services.ingest`."""

from services.ingest.app import serve
from services.ingest.settings import Settings
from shared.runtime.service_cli import run_service

run_service("ingest", Settings, serve)
