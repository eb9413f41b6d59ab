"""Defines the steps that the planner of a site returns.

`M` is the type of a message and `C` of a connection; both are handles of the edge.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from msgspec import Struct

from services.deliver.core.attempt.results import ConnectFault

M = TypeVar("M")
C = TypeVar("C")


class Open(Struct, frozen=True):
    """Open a connection, then report `opened` or `open_failed`."""


class Start(Struct, Generic[M, C], frozen=True):
    """Start the message's transaction, then report `ended`.

    If the transaction cannot be started, report `returned` or `dropped`.
    """

    connection: C
    message: M


class Quit(Struct, Generic[C], frozen=True):
    """End an idle connection, then report `closed`."""

    connection: C


class Fail(Struct, Generic[M], frozen=True):
    """Report `fault` for the message, because it gets no connection."""

    message: M
    fault: ConnectFault


Step = Open | Start[M, C] | Quit[C] | Fail[M]
