"""Statements: what a closed month has counted, in a form that can be hashed, signed and proved.

A statement is a header and lines. A line is one count: of the statement's own month, or an
adjustment, which corrects an earlier month. docs/billing.md describes the canonical form; a change
of it needs another FORMAT.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct, structs

from services.billing.core.cells import Cell, decode_cell, encode_cell

FORMAT: Final = "sluice.statement/1"
# What is billed, and in which month each event counts (docs/billing.md). A statement names the
# version under which it was counted.
POLICY: Final = "1"

# Counts by month (YYYY-MM) and by the name of the cell.
MonthCells = Mapping[str, Mapping[str, int]]


class Line(Struct, frozen=True, array_like=True, order=True):
    """One count. `month` is the month in which it belongs: an adjustment if it is not that of the
    statement. An adjustment may be negative, after a rebuild."""

    month: str
    client: str
    mailing_id: str
    sub_client: str
    day: str
    counter: str
    detail: str
    count: int


class Statement(Struct, frozen=True):
    """The header of a statement; its lines are hashed in `sha256`, and all of it is signed.

    `previous` is the `sha256` of the header before it, "" for the first. `offsets` are the next
    offsets of mail.events, by partition: everything before them is included.
    """

    month: str
    time_zone: str
    closed_at_ms: int
    closed_by: str  # automatic, or command
    complete: bool
    reason: str  # why it is not complete
    log: str  # the topic id of mail.events
    offsets: dict[str, int]
    lines: int
    adjustments: int  # how many of the lines are adjustments
    totals: dict[str, int]  # by counter, without the adjustments
    adjusted: dict[str, int]  # by counter, the adjustments alone
    sha256: str  # of the lines
    previous: str
    parts: int  # records that hold the lines
    token: str  # of this attempt to close
    format: str = FORMAT
    policy: str = POLICY
    public_key: str = ""  # base64, raw; "" if not signed
    signature: str = ""  # base64, Ed25519


_canonical: Final = msgspec.json.Encoder(order="sorted")
_line_encoder: Final = msgspec.json.Encoder()
_line: Final = msgspec.json.Decoder(Line)
_statement: Final = msgspec.json.Decoder(Statement)


def encode_lines(lines: Iterable[Line]) -> bytes:
    """The canonical form: sorted, a JSON array per line, each ended by LF."""
    return b"".join(_line_encoder.encode(line) + b"\n" for line in sorted(lines))


def decode_lines(text: bytes) -> list[Line]:
    """Raises msgspec.DecodeError."""
    return [_line.decode(line) for line in text.splitlines()]


def split_lines(text: bytes, most: int) -> list[bytes]:
    """Split the canonical form into parts of whole lines, of at most `most` bytes if a line is not
    longer."""
    parts, begin = [], 0
    while begin < len(text):
        end = len(text) if len(text) - begin <= most else text.rfind(b"\n", begin, begin + most) + 1
        if end <= begin:
            end = text.index(b"\n", begin) + 1
        parts.append(text[begin:end])
        begin = end
    return parts


def encode_statement(statement: Statement) -> bytes:
    """The header as JSON: keys sorted, no white space."""
    return _canonical.encode(statement)


def decode_statement(text: bytes) -> Statement:
    """Raises msgspec.DecodeError."""
    return _statement.decode(text)


def signed_form(statement: Statement) -> bytes:
    """The bytes that are signed: the header with an empty signature."""
    return encode_statement(structs.replace(statement, signature=""))


def digest(statement: Statement) -> str:
    """The identity of a header, by which the next one names it."""
    return hashlib.sha256(signed_form(statement)).hexdigest()


def lines_of(month: str, cells: MonthCells, stated: MonthCells) -> list[Line]:
    """The lines of the statement of `month`: its cells, and what earlier months differ from what
    is stated about them. Later months are left for their own statements."""
    lines = []
    for each in sorted(month_name for month_name in {*cells, *stated} if month_name <= month):
        now, before = _by_cell(cells.get(each, {})), _by_cell(stated.get(each, {}))
        for cell in now.keys() | before.keys():
            number = now.get(cell, 0) - before.get(cell, 0)
            if number:
                lines.append(
                    Line(
                        each,
                        cell.client,
                        cell.mailing_id,
                        cell.sub_client,
                        cell.day,
                        cell.counter,
                        cell.detail,
                        number,
                    )
                )
    return sorted(lines)


def add_stated(stated: dict[str, dict[str, int]], lines: Iterable[Line]) -> None:
    """Add a statement's lines to what is stated about each month."""
    for line in lines:
        cells = stated.setdefault(line.month, {})
        name = encode_cell(cell_of(line))
        cells[name] = cells.get(name, 0) + line.count


def cell_of(line: Line) -> Cell:
    """The cell that a line counts."""
    return Cell(line.client, line.mailing_id, line.sub_client, line.counter, line.day, line.detail)


def totals(lines: Iterable[Line]) -> dict[str, int]:
    """The sums by counter, without the details."""
    found: dict[str, int] = {}
    for line in lines:
        if not line.detail:
            found[line.counter] = found.get(line.counter, 0) + line.count
    return dict(sorted(found.items()))


def sign(statement: Statement, key: Ed25519PrivateKey | None) -> Statement:
    """Sign a header; without a key it stays as it is."""
    if key is None:
        return statement
    named = structs.replace(statement, public_key=encode_public(key.public_key()))
    signature = base64.b64encode(key.sign(signed_form(named))).decode()
    return structs.replace(named, signature=signature)


def encode_public(key: Ed25519PublicKey) -> str:
    """A public key in base64 of its 32 bytes."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return base64.b64encode(raw).decode()


def faults(statement: Statement, text: bytes, trusted: Sequence[str]) -> list[str]:
    """What is wrong with a statement in itself: hash, counts, totals and signature.

    `trusted`: the public keys that may have signed it; without any, the one it names is used, which
    shows damage but not forgery.
    """
    found = []
    if statement.format != FORMAT:
        return [f"its format {statement.format!r} is not {FORMAT!r}"]
    if hashlib.sha256(text).hexdigest() != statement.sha256:
        found.append("the lines do not have the SHA-256 that the statement names")
    try:
        lines = decode_lines(text)
    except msgspec.DecodeError as error:
        return [*found, f"a line cannot be read: {error}"]
    own = [line for line in lines if line.month == statement.month]
    others = [line for line in lines if line.month != statement.month]
    if (len(lines), len(others)) != (statement.lines, statement.adjustments):
        found.append(f"{len(lines)} lines with {len(others)} adjustments were found")
    if (totals(own), totals(others)) != (statement.totals, statement.adjusted):
        found.append("the totals are not the sums of the lines")
    if encode_lines(lines) != text:
        found.append("the lines are not in the canonical form")
    if fault := _signature_fault(statement, trusted):
        found.append(fault)
    return found


def _signature_fault(statement: Statement, trusted: Sequence[str]) -> str:
    if not statement.signature:
        return "it is not signed" if trusted else ""
    if trusted and statement.public_key not in trusted:
        return f"it is signed with another key: {statement.public_key}"
    try:
        raw = base64.b64decode(statement.public_key, validate=True)
        signature = base64.b64decode(statement.signature, validate=True)
        Ed25519PublicKey.from_public_bytes(raw).verify(signature, signed_form(statement))
    except (InvalidSignature, ValueError):
        return "its signature is wrong"
    return ""


def _by_cell(cells: Mapping[str, int]) -> dict[Cell, int]:
    """Cells by value: their names may be written in an older, shorter way."""
    found: dict[Cell, int] = {}
    for name, number in cells.items():
        cell = decode_cell(name)
        found[cell] = found.get(cell, 0) + number
    return found
