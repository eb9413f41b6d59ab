"""What is done every few seconds beside the sending, whatever becomes of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)


async def repeat(every_s: float, act: Callable[[], Awaitable[object]]) -> None:
    """Do it every so many seconds until cancelled. A fault is logged, and it is done again."""
    while True:
        await asyncio.sleep(every_s)
        try:
            await act()
        except Exception:
            log.exception("what is done every %g s failed; it is tried again", every_s)
