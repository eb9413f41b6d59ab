"""Defines the two protocol errors: local (a bug in our code) and remote (a fault of the peer).

After either error, the session can no longer be used, and its connection must be closed.
"""

from __future__ import annotations


class ProtocolError(Exception):
    """An error after which the dialog cannot continue."""


class LocalProtocolError(ProtocolError):
    """The calling code tried to break the protocol."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol. The text describes the fault."""
