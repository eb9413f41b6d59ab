"""A statement has the counts of a closed month, in a form that can be hashed, signed and proved.

A statement consists of a header and lines (lines.py). The page docs/billing.md describes the
canonical form. If this form changes, FORMAT must change, too.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct, structs

from services.billing.core.closing.lines import (
    Line,
    LinesText,
    Sums,
    decode_lines,
    encode_line,
    raw_lines,
    sha256_of,
)

FORMAT: Final = "sluice.statement/1"
# The version of the rules that determine which events are billed, and in which month
# (docs/billing.md). The field `policy` of a statement has the version that was used for its counts.
POLICY: Final = "1"


class Statement(Struct, frozen=True):
    """The header of a statement; its lines are hashed in `sha256`, and all of it is signed.

    `previous` is the SHA-256 of what is signed of the header before it, "" for the first. `offsets`
    are the next offsets of mail.events, by partition: everything before them is included.
    """

    month: str
    time_zone: str
    closed_at_ms: int
    closed_by: str  # "automatic" or "command".
    complete: bool
    reason: str  # The reason why the counts are not complete.
    log: str  # The topic id of mail.events.
    offsets: dict[str, int]
    lines: int
    adjustments: int  # The number of lines that are adjustments.
    totals: dict[str, int]  # The sum of each counter, without the adjustments.
    adjusted: dict[str, int]  # The sum of the adjustments of each counter.
    sha256: str  # The SHA-256 of the lines.
    previous: str
    parts: int  # The number of records that contain the lines.
    token: str  # Identifies this attempt to close the month.
    format: str = FORMAT
    policy: str = POLICY
    public_key: str = ""  # The 32 bytes of the key in base64, or "" if there is no signature.
    signature: str = ""  # The Ed25519 signature in base64.


_canonical: Final = msgspec.json.Encoder(order="sorted")
_statement: Final = msgspec.json.Decoder(Statement)


def encode_statement(statement: Statement) -> bytes:
    """Return the header as JSON with sorted keys and without white space."""
    return _canonical.encode(statement)


def decode_statement(text: bytes) -> Statement:
    """Raises msgspec.DecodeError."""
    return _statement.decode(text)


def signed_form(statement: Statement) -> bytes:
    """Return the bytes that are signed: the header with an empty signature."""
    return encode_statement(structs.replace(statement, signature=""))


def digest(statement: Statement) -> str:
    """Return the SHA-256 of the signed form. The next header contains this SHA-256 as
    `previous`."""
    return hashlib.sha256(signed_form(statement)).hexdigest()


def sign(statement: Statement, key: Ed25519PrivateKey | None) -> Statement:
    """Return the header with a signature, or the unchanged header if there is no key."""
    if key is None:
        return statement
    named = structs.replace(statement, public_key=encode_public(key.public_key()))
    signature = base64.b64encode(key.sign(signed_form(named))).decode()
    return structs.replace(named, signature=signature)


def encode_public(key: Ed25519PublicKey) -> str:
    """Return the 32 bytes of a public key in base64."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return base64.b64encode(raw).decode()


def faults(statement: Statement, text: LinesText, trusted: Sequence[str]) -> list[str]:
    """Return the faults in the hash, the counts, the totals and the signature of a statement.

    `trusted` are the public keys that may have signed the statement. If `trusted` is empty, the
    signature is checked with the key in the header. This check detects damage, but not forgery.
    """
    if statement.format != FORMAT:
        return [f"its format {statement.format!r} is not {FORMAT!r}"]
    found = []
    if sha256_of(text) != statement.sha256:
        found.append("the lines do not have the SHA-256 that the statement contains")
    try:
        found += _line_faults(statement, text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return [*found, f"a line cannot be read: {error}"]
    if fault := _signature_fault(statement, trusted):
        found.append(fault)
    return found


def _line_faults(statement: Statement, text: LinesText) -> list[str]:
    found, sums, before = [], Sums(statement.month), None
    is_canonical, is_later = True, False
    for raw, line in zip(raw_lines(text), decode_lines(text), strict=True):
        sums.add(line)
        is_canonical &= encode_line(line) == raw and not _is_before(line, before)
        is_later |= line.month > statement.month
        before = line
    if (sums.lines, sums.adjustments) != (statement.lines, statement.adjustments):
        found.append(f"{sums.lines} lines with {sums.adjustments} adjustments were found")
    if (sums.totals, sums.adjusted) != (statement.totals, statement.adjusted):
        found.append("the totals are not the sums of the lines")
    if not is_canonical:
        found.append("the lines are not in the canonical form")
    if is_later:
        found.append("a line has a later month than the statement")
    return found


def _is_before(line: Line, before: Line | None) -> bool:
    return before is not None and line < before


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
