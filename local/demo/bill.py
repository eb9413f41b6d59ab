"""What billing has counted of the demo, read from its API.

Owns: waiting until everything is counted, and a key where the API asks for one.
"""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from local.demo.reconciliation import Row
from local.parts.services import get_json
from local.process import PartNotStarted
from local.stack import Stack
from shared.access.keys import AccessKey, Right
from shared.access.topic import create_key
from shared.runtime.clock import SystemClock
from shared.settings.sections import KafkaSettings

_LOOK_EVERY_S: Final = 0.1
_WAIT_S: Final = 120
_KEY_MS: Final = 3_600_000


def read_bill(stack: Stack, months: set[str]) -> dict[Row, int]:
    """Read the counts from billing's API; waits until it has counted everything."""
    billed: dict[Row, int] = {}
    for month in months:
        for row in _usage(stack, month):
            if row["billed"]:
                key = (row["client"], row["mailing_id"], row["sub_client"])
                billed[key] = billed.get(key, 0) + row["billed"]
    return billed


def _usage(stack: Stack, month: str) -> list[dict[str, Any]]:
    port = urlsplit(stack.endpoints.billing or "").port or 0
    give_up_at = time.monotonic() + _WAIT_S
    key = ""
    while True:
        status, found = get_json(port, f"/v1/usage?month={month}&wait_s=1", key=key)
        if status == HTTPStatus.UNAUTHORIZED and not key:
            key = _new_key(stack)
            continue
        if status == 200 and isinstance(found, dict):
            if found["complete"] or time.monotonic() > give_up_at:
                rows: list[dict[str, Any]] = found["rows"]
                return rows
        elif time.monotonic() > give_up_at:
            raise PartNotStarted(
                f"billing does not answer at {stack.endpoints.billing}: HTTP {status}"
            )
        time.sleep(_LOOK_EVERY_S)


def _new_key(stack: Stack) -> str:
    """A key for the API of billing, which the user's settings have opened to other machines."""
    created_at_ms = SystemClock().now_ms()
    wanted = AccessKey(
        id="",
        secret_hash=b"",
        rights=(Right.BILLING_READ.value,),
        name="sluice demo",
        created_at_ms=created_at_ms,
        created_by="sluice demo",
        expires_at_ms=created_at_ms + _KEY_MS,
    )
    return str(create_key(KafkaSettings(bootstrap=stack.endpoints.kafka), wanted)[0])
