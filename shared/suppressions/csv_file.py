"""Reads recipients from CSV, and writes entries as CSV. Pure.

A file has one recipient per line: an address, or the SHA-256 or MD5 (hexadecimal) of an address in
comparison form. If the heading has a column `recipient`, `address` or `email`, that column is read.
Otherwise, the first column is read. In a file from `export`, each row is an entry with all its
fields. So after a restore, a complaint is still a complaint, and a removed entry is still removed.
"""

from __future__ import annotations

import csv
import io
import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

from shared.mail.comparison import comparable
from shared.topics.suppressions import (
    REASONS,
    RecipientForm,
    Suppression,
    SuppressionReason,
)

COLUMNS: Final = (
    *("client", "recipient", "form", "reason", "active", "at_ms", "author", "note"),
    *("mail_id", "count"),
)
_HEADINGS: Final = ("recipient", "address", "email")
# The file is an export if its heading has these columns.
_OF_EXPORT: Final = frozenset({"client", "recipient", "reason", "active"})
_ACTIVE: Final = {"true": True, "false": False}
_MAX_DIGITS: Final = 16
# The byte order marks of UTF-16, in which spreadsheets save "Unicode text". Such a file is refused.
_UTF_16: Final = ("\udcff\udcfe", "\udcfe\udcff")
_HEX: Final = re.compile(r"[0-9a-f]+")
_ESCAPED: Final = re.compile("[\ud800-\udfff]")  # Matches a byte that is not UTF-8.
_BY_LENGTH: Final = {64: RecipientForm.SHA256, 32: RecipientForm.MD5}
_SAID: Final = ", ".join(REASONS)
# A spreadsheet program executes a cell that begins with one of these characters as a formula.
_FORMULA: Final = ("=", "+", "-", "@")
# The byte order mark of UTF-8, which spreadsheets write.
_BOM: Final = "\ufeff"
# Open a file with this error handler, so that a line that is not UTF-8 is recognised.
NOT_UTF_8: Final = "surrogateescape"
# The longest record. A file with a longer record is not a list of recipients.
MAX_CHARS: Final = 65_536
_MAX_LINES: Final = 100
_SHOWN: Final = 100  # This many characters of a faulty line are shown.


class Recipient(Struct, frozen=True):
    """A recipient in a file or in a command, identified by an address or a hash."""

    text: str
    form: RecipientForm


class FaultyLine(Struct, frozen=True):
    """A line without a valid recipient, and the reason why the line is not valid."""

    number: int
    text: str
    reason: str = "neither one mail address nor a SHA-256 or MD5"


def parse_recipient(text: str) -> Recipient | None:
    """Return the recipient of this text, or None if it is neither an address nor a hash."""
    text = text.strip()
    digits = text.lower()
    form = _BY_LENGTH.get(len(digits))
    if form is not None and _HEX.fullmatch(digits):
        return Recipient(digits, form)
    address = comparable(text)
    return Recipient(address, RecipientForm.ADDRESS) if address else None


def parse_rows(lines: Iterable[str]) -> Iterator[Recipient | Suppression | FaultyLine]:
    """Yield the recipient in each line or, in an export, the entry. Skip empty lines."""
    place = 0
    columns: list[str] = []
    for number, text in _records(lines):
        if number == 1 and text.startswith(_UTF_16):
            yield FaultyLine(1, "", "the file is UTF-16; save it as UTF-8")
            return
        cells = _cells(number, text)
        if isinstance(cells, FaultyLine):
            yield cells
            continue
        names = [cell.lower() for cell in cells]
        heading = next((name for name in _HEADINGS if name in names), None)
        if number == 1 and heading is not None:
            place = names.index(heading)
            columns = names if set(names) >= _OF_EXPORT else []
        elif columns and any(cells):
            yield _entry(number, dict(zip(columns, cells, strict=False)))
        elif any(cells):
            found = cells[place] if place < len(cells) else ""
            yield parse_recipient(found) or FaultyLine(number, found[:_SHOWN])


def _entry(number: int, row: dict[str, str]) -> Suppression | FaultyLine:
    """Return the entry in a row of an export."""
    shown = row.get("recipient", "")[:_SHOWN]
    named = parse_recipient(row.get("recipient", ""))
    if named is None:
        return FaultyLine(number, shown)
    reason, active = row.get("reason", ""), row.get("active", "")
    if reason not in REASONS:
        return FaultyLine(number, shown, f"reason: {reason[:_SHOWN]!r} is none of {_SAID}")
    if active.lower() not in _ACTIVE:
        return FaultyLine(number, shown, f"active: {active[:_SHOWN]!r} is neither True nor False")
    for name in ("at_ms", "count"):
        if not _is_number(row.get(name, "")):
            return FaultyLine(number, shown, f"{name}: {row[name][:_SHOWN]!r} is no whole number")
    return Suppression(
        client=row.get("client", ""),
        reason=SuppressionReason(reason),
        recipient=named.text,
        form=named.form,
        active=_ACTIVE[active.lower()],
        at_ms=int(row.get("at_ms") or 0),
        author=_as_written(row.get("author", "")),
        note=_as_written(row.get("note", "")),
        mail_id=row.get("mail_id", ""),
        count=int(row.get("count") or 0),
    )


def _is_number(text: str) -> bool:
    return not text or (text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS)


def _cells(number: int, text: str) -> list[str] | FaultyLine:
    if len(text) > MAX_CHARS:
        return FaultyLine(number, text[:_SHOWN], f"longer than {MAX_CHARS:,} characters")
    if _ESCAPED.search(text):
        shown = text[:_SHOWN].strip().encode("utf-8", NOT_UTF_8).decode("ascii", "backslashreplace")
        return FaultyLine(number, shown, "not UTF-8")
    if _is_open(text):
        return FaultyLine(number, text[:_SHOWN].strip(), "a quote is not closed")
    try:
        (row,) = csv.reader([text])
    except csv.Error as error:
        return FaultyLine(number, text[:_SHOWN].strip(), f"not CSV: {error}")
    return [cell.removeprefix(_BOM).strip() for cell in row]


def _records(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield the records with the numbers of their first lines.

    A quoted cell may have several lines. Without a limit, a cell whose quote is not closed would
    contain the rest of the file. So if a quote is not closed within _MAX_LINES, the line of the
    quote is a record by itself, and reading continues after that line.
    """
    numbered = enumerate(lines, 1)
    read_ahead: deque[tuple[int, str]] = deque()

    def take() -> tuple[int, str] | None:
        return read_ahead.popleft() if read_ahead else next(numbered, None)

    while (first := take()) is not None:
        number, text = first
        more: list[tuple[int, str]] = []
        joined = text
        while _is_open(joined) and len(more) < _MAX_LINES and len(joined) <= MAX_CHARS:
            line = take()
            if line is None:
                break
            more.append(line)
            joined += line[1]
        if _is_open(joined) or len(joined) > MAX_CHARS:
            read_ahead.extendleft(reversed(more))
            joined = text
        yield number, joined


def _is_open(text: str) -> bool:
    """Return True if a quoted cell is still open after this text.

    In a cell that is not quoted, a quote is plain text.
    """
    place = len(_BOM) if text.startswith(_BOM) else 0
    while True:
        if text.startswith('"', place):
            place = text.find('"', place + 1)
            while text.startswith('""', place):  # A doubled quote is part of the quoted cell.
                place = text.find('"', place + 2)
            if place < 0:
                return True
        place = text.find(",", place) + 1
        if not place:
            return False


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
    return "'" + text if text[:1] in _FORMULA else text


def _as_written(text: str) -> str:
    return text[1:] if text[:1] == "'" and text[1:2] in _FORMULA else text
