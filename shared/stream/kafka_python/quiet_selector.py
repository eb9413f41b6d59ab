"""A selector that quickly raises the error for an unregistered socket.

kafka-python 3.0.12 looks up each socket twice per wait, and relies on the KeyError for unregistered
sockets. The standard library puts the socket's description into this error four times, each time
with two system calls. This takes a tenth of a busy producer's time.
"""

from __future__ import annotations

import selectors
from typing import Any


class QuietSelector(selectors.DefaultSelector):
    """The platform's selector, but the KeyError of get_key() contains only the descriptor."""

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """Return the key of a registered file object. Raises KeyError, ValueError, RuntimeError."""
        if self.get_map() is None:
            raise RuntimeError("Selector is closed")
        descriptor = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        if descriptor < 0:
            return super().get_key(fileobj)  # a closed socket can only be found by a search
        return self._fd_to_key[descriptor]  # type: ignore[attr-defined, no-any-return]
