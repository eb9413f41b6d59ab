"""Reads over TLS: what came before a broken record or an alert is not lost with it.

A server may answer the content and end the connection with an alert in one segment. Event loops
read records until there is no more, and forget what they have read if the last one is an error: the
reply would be lost, and the message sent again. So the error is held back until the loop has passed
on the data; the next read raises it.

Owns: the order of data and errors. Does not own: sessions (tls_sessions.py). Guarantees: no error
is lost while the loop reads on; nothing is read behind an error. If no read follows, the end of the
transport, or the time limit of the next reply, ends the connection.
"""

from __future__ import annotations

import ssl
from typing import Any


class OrderlyObject(ssl.SSLObject):
    """The client side of a TLS connection whose errors come after the data before them."""

    _has_read = False  # since the loop was last told that there is no more
    _held_back: ssl.SSLError | None = None

    def read(self, *args: Any) -> Any:
        """Read as SSLObject does."""
        if self._held_back is not None:
            raise self._held_back
        try:
            data = super().read(*args)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            self._has_read = False
            raise
        except ssl.SSLError as error:
            if not self._has_read:
                raise
            self._held_back = error
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "an error is held back") from None
        self._has_read = True
        return data
