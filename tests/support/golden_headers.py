"""The golden cases of headers."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

FOLDER: Final = Path(__file__).parents[1] / "golden" / "headers"


PLAIN: Final = {
    "From": " News <a@news.shop.example>",
    "To": " Max <max@kunde.example>",
    "Message-ID": " <1@news.shop.example>",
    "Subject": " Order",
}


class Case(Struct, frozen=True):
    """One decision: the message, its envelope, the rules it breaks."""

    name: str
    content: bytes
    rules: str
    sender: str = ""
    recipient: str = ""


def octets(text: str) -> bytes:
    parts = (
        bytes((ord(letter) - 0xF700,)) if 0xF780 <= ord(letter) <= 0xF7FF else letter.encode()
        for letter in text.replace("{2000}", "x" * 2_000)
    )
    return b"".join(parts)


def header(lines: dict[str, str]) -> str:
    return "".join(f"{name}:{value}\r\n" for name, value in lines.items())


def case_of(kind: str, row: list[str]) -> Case:
    name, form, rules, why = row
    assert why, name
    named = f"{kind or 'line'}: {name}"
    if kind == "envelope":
        changed, _, rest = form.rpartition(";")
        address = changed.removeprefix("From=")
        lines = PLAIN | ({"From": f" {address}"} if changed else {})
        sender, _, recipient = rest.partition("|")
        return Case(named, octets(header(lines) + "\r\nHello\r\n"), rules, sender, recipient)
    if kind == "*":
        plain = header(PLAIN)
        text = form.replace("{}", plain).replace("{lf}", plain.replace("\r\n", "\n"))
        return Case(named, octets(text.replace("{cr}", plain.replace("\r\n", "\r"))), rules)
    if not kind:
        plain = header(PLAIN).replace("Subject:", f"{form}\r\nSubject:", 1)
        return Case(named, octets(plain + "\r\nHello\r\n"), rules)
    space = "" if form[:1] in "\r\n" or "no space after" in name else " "
    return Case(named, octets(header(PLAIN | {kind: space + form}) + "\r\nHello\r\n"), rules)


def read() -> Iterator[Case]:
    for path in sorted(FOLDER.glob("*.toml")):
        table = tomllib.loads(path.read_text("utf-8"))
        yield from (case_of(table["header"], row) for row in table["cases"])


CASES: Final = tuple(read())
