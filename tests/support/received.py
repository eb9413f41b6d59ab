"""The contents of mail.received, read once for many tests."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from types import TracebackType
from typing import Self

from shared.topics import names
from shared.topics.codec import decode_pack
from shared.topics.records import Message
from tests.support.chaos.witnesses import follow
from tests.support.patience import PATIENCE_S


class Received:
    """Follows mail.received from its beginning and keeps its messages by Message-ID."""

    def __init__(self, bootstrap: str) -> None:
        self._consumer = follow(bootstrap, names.RECEIVED)
        self._found: dict[str, list[Message]] = defaultdict(list)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._consumer.close(autocommit=False)

    def by_id(self, message_id: str) -> list[Message]:
        """Return the copies of a message, once there is one."""
        self.until(lambda: message_id in self._found)
        return self._found[message_id]

    def until(self, is_so: Callable[[], bool]) -> None:
        """Read repeatedly until the condition holds."""
        until = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < until, f"only these came: {list(self._found)}"
            self.look()

    def look(self) -> dict[str, list[Message]]:
        """Read once more; return all messages so far."""
        for records in self._consumer.poll(timeout_ms=100).values():
            for record in records:
                for message in decode_pack(record.value, record.headers):
                    self._found[message.envelope.message_id].append(message)
        return self._found
