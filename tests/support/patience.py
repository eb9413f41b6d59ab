"""How long a test waits for what must happen: a busy machine stands still for some seconds."""

from __future__ import annotations

from typing import Any, Final

# Of connect() and connect_async() in shared/store/client.py, which give up after 2 s.
PATIENT: Final[dict[str, Any]] = {"socket_timeout": 60.0, "socket_connect_timeout": 60.0}

# For one thing that must happen, also where every step of it takes two hundred times as long.
PATIENCE_S: Final = 240.0
