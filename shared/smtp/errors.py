"""The two protocol errors: ours and theirs.

Promises: after either the session can be used no more; its connection is to be closed.
"""

from __future__ import annotations


class ProtocolError(Exception):
    """The dialog cannot go on."""


class LocalProtocolError(ProtocolError):
    """We were about to break the protocol: a fault of the calling code."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol; the text says how."""
