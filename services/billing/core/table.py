"""Usage as CSV: one line per mailing, always the same columns in the same order."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Final

from services.billing.core.cells import COUNTERS
from services.billing.core.rows import Row
from services.billing.core.usage_api.tables import safe

COLUMNS: Final = ("month", "client", "mailing_id", "sub_client", *COUNTERS)


def as_csv(month: str, rows: Iterable[Row]) -> str:
    """RFC 4180: a header line, then the rows; lines end in CRLF. No name is taken for a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in rows:
        names = [safe(getattr(row, name)) for name in COLUMNS[1:4]]
        writer.writerow([month, *names, *(getattr(row, name) for name in COUNTERS)])
    return text.getvalue()
