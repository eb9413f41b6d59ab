"""Gives each outgoing message its return path, and stops one whose From does not agree with it.

The events and the retry topics keep the submitted sender, so only what goes out has the return
path. Does not own: what a return path carries and when it agrees with From
(core/attempt/return_path.py), the form (shared/mail/verp.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from msgspec.structs import replace

from services.deliver.core.attempt.outcome import Bounced, Outcome
from services.deliver.core.attempt.return_path import misalignment, return_path
from services.deliver.edge.attempt.parts import Sender
from shared.settings.secret_files import KeysFile
from shared.topics.records import Envelope

log = logging.getLogger(__name__)


class ReturnPathSender:
    """Passes messages on with their return path; `keys` None: with the submitted sender."""

    def __init__(self, sender: Sender, keys: KeysFile | None) -> None:
        self._sender = sender
        self._keys = keys

    def send(
        self, envelope: Envelope, content: bytes, begin: Callable[[], bool]
    ) -> Coroutine[Any, Any, Outcome | None]:
        """Attempt once; see Sender. A message that violates R11 is not attempted."""
        keys = self._keys.keys if self._keys is not None else None
        sender = return_path(envelope, keys)
        fault = misalignment(sender, content)
        if fault is None:
            return self._sender.send(replace(envelope, sender=sender), content, begin)
        return self._refused(envelope, fault, begin)

    async def _refused(
        self, envelope: Envelope, fault: Bounced, begin: Callable[[], bool]
    ) -> Outcome | None:
        if not begin():
            return None
        log.error(
            "a message was not sent because it violates R11",
            extra={"mail_id": envelope.mail_id, "client": envelope.client, "reason": fault.reason},
        )
        return fault
