"""Defines the two protocol errors: local (a bug of the calling code) and remote (a fault of the
peer).

After each of these errors, the session cannot be used any more, and its connection must be closed.
"""

from __future__ import annotations


class ProtocolError(Exception):
    """An error after which the dialog cannot continue."""


class LocalProtocolError(ProtocolError):
    """The calling code has tried to violate the protocol."""


class RemoteProtocolError(ProtocolError):
    """The peer has violated the protocol. The text describes the fault."""
