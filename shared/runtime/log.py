"""Writes structured log lines to standard error, one per record.

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

# The attributes that every record has; all other attributes come from `extra`.
_ORDINARY: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# These libraries log every reconnect at info level. kafka-python also logs each failed attempt, ten
# lines per second while the brokers are unavailable.
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


class Sparing(logging.Filter):
    """Passes at most one record per QUIET_S for each logging statement of a verbose library.

    The memory of this filter is bounded by the number of logging statements in the code.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__()
        self._clock = clock or SystemClock()
        self._passed_at: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] not in _TALKATIVE:
            return True
        place, now = (record.pathname, record.lineno), self._clock.monotonic()
        if now - self._passed_at.get(place, -QUIET_S) < QUIET_S:
            return False
        self._passed_at[place] = now
        return True


class JsonFormatter(logging.Formatter):
    """Formats each record as one line with a JSON object."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        fields = _fields(record, self._service)
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """Formats time, level, service, message and key=value; a stack trace follows on new lines."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Format the record as one line; the lines of its stack trace follow."""
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
    """Send every log record of this process to standard error, as configured in the settings."""
    handler = logging.StreamHandler(stream or sys.stderr)
    json_lines = settings.log_format == "json"
    handler.setFormatter(JsonFormatter(service) if json_lines else TextFormatter(service))
    if settings.log_level != "debug":
        handler.addFilter(Sparing())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
    # The selector logs a warning about every task that waits for a busy processor.
    logging.getLogger("kafka.net.selector").setLevel(logging.ERROR)
