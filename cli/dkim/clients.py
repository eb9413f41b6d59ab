"""Whether the client of new DKIM keys is registered: they sign nothing before it is."""

from __future__ import annotations

from cli.clients.faults import require_known
from cli.target import find_kafka
from shared.runtime.errors import Unavailable, UsageError
from shared.settings.loader import SettingsError


def warnings_of_client(name: str, bootstrap: str, line: str) -> list[str]:
    """Return what is to be said of the client of new keys; nothing if it is registered."""
    if not name:
        return []
    try:
        require_known(find_kafka(bootstrap, line), name)
    except UsageError as error:
        return [f"{error}; the keys sign mail once the client is registered"]
    except (Unavailable, SettingsError) as error:
        return [f"whether there is a client {name!r} was not checked: {error}"]
    return []
