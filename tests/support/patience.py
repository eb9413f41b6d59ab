"""How long a test waits for a condition, because a busy machine may stand still for seconds."""

from __future__ import annotations

from typing import Any, Final

# Used for connect() and connect_async() in shared/store/client.py, which give up after 2 s.
PATIENT: Final[dict[str, Any]] = {"socket_timeout": 60.0, "socket_connect_timeout": 60.0}

# The time for one condition, even if each step before it takes two hundred times as long as usual.
PATIENCE_S: Final = 240.0
