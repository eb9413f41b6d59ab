"""Which names of time zones billing accepts."""

from __future__ import annotations

import pytest

from services.billing.settings import Settings
from shared.settings.loader import SettingsError, load


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "Australia/Lord_Howe"])
def test_a_zone_of_the_iana_database_is_accepted(name: str) -> None:
    loaded = load(Settings, {"SLUICE_BILLING__TIME_ZONE": name})
    assert loaded.settings.billing.time_zone == name


@pytest.mark.parametrize("name", ["Mars/Olympus", "localtime", "posixrules", "", "/etc/localtime"])
def test_a_zone_that_is_unknown_or_depends_on_the_host_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=r"billing\.time_zone"):
        load(Settings, {"SLUICE_BILLING__TIME_ZONE": name})
