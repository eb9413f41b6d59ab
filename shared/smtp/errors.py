"""The two protocol errors: local (a bug of ours) and remote (a fault of the peer).

After either, the session can no longer be used, and its connection must be closed.
"""

from __future__ import annotations


class ProtocolError(Exception):
    """The dialog cannot continue."""


class LocalProtocolError(ProtocolError):
    """The calling code was about to break the protocol."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol; the text describes how."""
