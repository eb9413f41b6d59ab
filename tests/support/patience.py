"""How long a test waits for a store that is there: a busy machine stands still for some seconds."""

from __future__ import annotations

from typing import Any, Final

# Of connect() and connect_async() in shared/store/client.py, which give up after 2 s.
PATIENT: Final[dict[str, Any]] = {"socket_timeout": 60.0, "socket_connect_timeout": 60.0}
