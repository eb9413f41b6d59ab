"""A selector whose error for an unregistered socket is cheap.

kafka-python 3.0.12 looks up each socket twice per wait, and relies on the KeyError. The standard
library puts the socket's description into that error four times, each with two system calls: this
takes a tenth of the time of a busy producer.
"""

from __future__ import annotations

import selectors
from typing import Any


class QuietSelector(selectors.DefaultSelector):
    """The platform's selector; get_key() raises KeyError with the descriptor alone."""

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """Return the key of a registered file object; raise KeyError, ValueError, RuntimeError."""
        if self.get_map() is None:
            raise RuntimeError("Selector is closed")
        descriptor = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        if descriptor < 0:
            return super().get_key(fileobj)  # a closed socket can only be found by a search
        return self._fd_to_key[descriptor]  # type: ignore[attr-defined, no-any-return]
