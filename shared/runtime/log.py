"""Structured log lines on standard error, one a record.

`log.info("settled", extra={"lane": "gmail", "count": 3})` becomes
`2026-01-31T12:00:00.000Z info deliver settled lane=gmail count=3 logger=...`, or one JSON
object with the same fields.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from shared.runtime.clock import Clock, SystemClock
from shared.settings.sections import RuntimeSettings

# The attributes that every record has; what is beyond them came by `extra`.
_ORDINARY: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# Libraries that tell of every reconnect at info level, and kafka-python of each failed one in
# ten lines a second while the brokers are away.
_TALKATIVE: Final = ("kafka", "aiosmtplib", "opentelemetry", "asyncio")
QUIET_S: Final = 60.0


def _fields(record: logging.LogRecord, service: str) -> dict[str, Any]:
    moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    fields: dict[str, Any] = {
        "time": moment.replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "service": service,
        "message": record.getMessage(),
    }
    for name, value in vars(record).items():
        if name not in _ORDINARY and name not in fields:
            fields[name] = value
    fields["logger"] = record.name
    return fields


class Seldom(logging.Filter):
    """Lets what one place of a talkative library says pass once in QUIET_S.

    Bounded by the number of places in the code that log.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__()
        self._clock = clock or SystemClock()
        self._passed_at: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record passes."""
        if record.name.partition(".")[0] not in _TALKATIVE:
            return True
        place, now = (record.pathname, record.lineno), self._clock.monotonic()
        if now - self._passed_at.get(place, -QUIET_S) < QUIET_S:
            return False
        self._passed_at[place] = now
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        fields = _fields(record, self._service)
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """Time, level, service, message, then key=value; a stack trace follows on its own lines."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, and the lines of its stack trace."""
        fields = _fields(record, self._service)
        head = [str(fields.pop(name)) for name in ("time", "level", "service", "message")]
        head[3] = head[3].replace("\r", "\\r").replace("\n", "\\n")
        pairs = [f"{name}={_value(value)}" for name, value in fields.items()]
        line = " ".join(head + pairs)
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _value(value: Any) -> str:
    text = str(value)
    plain = text.isprintable() and not any(letter in text for letter in ' "=')
    return text if text and plain else json.dumps(text, ensure_ascii=False)


def set_up(service: str, settings: RuntimeSettings, stream: TextIO | None = None) -> None:
    """Send every log record of this process to standard error as the settings say."""
    handler = logging.StreamHandler(stream or sys.stderr)
    json_lines = settings.log_format == "json"
    handler.setFormatter(JsonFormatter(service) if json_lines else TextFormatter(service))
    if settings.log_level != "debug":
        handler.addFilter(Seldom())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
