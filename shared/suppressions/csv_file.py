"""Reads recipients from CSV, and writes entries as CSV. Pure.

A file has one recipient per line: an address, or the SHA-256 or MD5 (hexadecimal) of an address in
comparison form. With a heading that has a column `recipient`, `address` or `email`, that column is
read; otherwise the first. A file that `export` wrote is read as it is.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

from shared.mail.recipients import comparable
from shared.topics.suppressions import RecipientForm, Suppression

COLUMNS: Final = (
    *("client", "recipient", "form", "reason", "active", "at_ms", "author", "note"),
    *("mail_id", "count"),
)
_HEADINGS: Final = ("recipient", "address", "email")
_HEX: Final = re.compile(r"[0-9a-f]+")
_BY_LENGTH: Final = {64: RecipientForm.SHA256, 32: RecipientForm.MD5}
# A byte order mark, as spreadsheets write it.
_BOM: Final = "\ufeff"


class Recipient(Struct, frozen=True):
    """A recipient as a file or a command names it."""

    text: str
    form: RecipientForm


class FaultyLine(Struct, frozen=True):
    """A line that names no recipient."""

    number: int
    text: str


def parse_recipient(text: str) -> Recipient | None:
    """Return the recipient of this text; None if it is neither an address nor a hash."""
    text = text.strip()
    digits = text.lower()
    form = _BY_LENGTH.get(len(digits))
    if form is not None and _HEX.fullmatch(digits):
        return Recipient(digits, form)
    address = comparable(text)
    return Recipient(address, RecipientForm.ADDRESS) if address else None


def parse_rows(lines: Iterable[str]) -> Iterator[Recipient | FaultyLine]:
    """Return what each line names; empty lines are passed over."""
    place = 0
    for number, row in enumerate(csv.reader(lines), 1):
        cells = [cell.removeprefix(_BOM).strip() for cell in row]
        if not any(cells):
            continue
        names = [cell.lower() for cell in cells]
        heading = next((name for name in _HEADINGS if name in names), None)
        if number == 1 and heading is not None:
            place = names.index(heading)
            continue
        text = cells[place] if place < len(cells) else ""
        yield parse_recipient(text) or FaultyLine(number, text[:100])


def as_csv(entries: Iterable[Suppression]) -> str:
    """Return the entries as CSV with a heading."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entry in entries:
        values = {name: str(getattr(entry, name)) for name in COLUMNS}
        values |= {name: _free_text(values[name]) for name in ("author", "note")}
        writer.writerow(values.values())
    return out.getvalue()


def _free_text(text: str) -> str:
    # A spreadsheet runs a cell that begins so as a formula.
    return "'" + text if text[:1] in ("=", "+", "-", "@") else text
