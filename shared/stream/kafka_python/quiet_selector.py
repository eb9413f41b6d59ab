"""A selector that is asked for sockets it does not know, and says so at little cost.

kafka-python 3.0.12 asks twice for each wait on a socket, and takes the KeyError as the answer. The
standard library puts the socket's description into it, four times over, each with two calls of the
system: a tenth of the time of a busy producer.
"""

from __future__ import annotations

import selectors
from typing import Any


class QuietSelector(selectors.DefaultSelector):
    """The platform's selector; get_key() raises KeyError with the descriptor alone."""

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """The key of a registered file object. Raises KeyError, ValueError, RuntimeError."""
        if self.get_map() is None:
            raise RuntimeError("Selector is closed")
        descriptor = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        if descriptor < 0:
            return super().get_key(fileobj)  # it is closed: only a search tells
        return self._fd_to_key[descriptor]  # type: ignore[attr-defined, no-any-return]
