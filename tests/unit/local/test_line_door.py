"""The limits that `./sluice up` gives its front door, where all peers have one address."""

from __future__ import annotations

from local.settings import door_limits
from services.ingest.settings import Settings
from shared.settings.loader import load


def test_the_line_s_limits_are_settings_of_ingest_and_no_hindrance_to_one_address() -> None:
    ingest = load(Settings, door_limits({})).settings.ingest
    assert ingest.smtp_max_connections_per_address == ingest.smtp_max_connections
    assert ingest.smtp_max_before_login_per_address == ingest.smtp_max_connections
    assert ingest.smtp_new_connections_per_minute == 0
    assert ingest.smtp_errors_per_address_per_minute == 0


def test_what_the_environment_sets_holds_for_the_line_too() -> None:
    own = {"SLUICE_INGEST__SMTP_MAX_FAILED_LOGINS": "3"}
    found = door_limits(own)
    assert not own.keys() & found.keys()
    assert load(Settings, {**own, **found}).settings.ingest.smtp_max_failed_logins == 3
