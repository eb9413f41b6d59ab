"""Whether a message may go out: asked by the pool, just before the first byte."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable


class Permission(ABC):
    """The permission for one message. Any callable that returns a bool may stand in for one."""

    @abstractmethod
    def __call__(self) -> bool:
        """Take the message up; return False if nothing may be sent."""

    @abstractmethod
    def prepare(self, ready: Callable[[bool], None]) -> bool:
        """Begin what has to be done before the message is taken up; return False if nothing has.

        `ready` is called once that is done, in the event loop and not before this has returned:
        with False if the message must not be sent. A connection is kept for it meanwhile.
        """
