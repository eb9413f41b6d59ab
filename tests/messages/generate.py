"""Writes the message set: `python -m tests.messages.generate`.

Each letter becomes <name>.eml, and expected.toml lists the rules it breaks. Every run and every
Python version writes the same bytes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from tests.messages.building import Letter
from tests.messages.letters_broken import broken_letters
from tests.messages.letters_headers import header_letters
from tests.messages.letters_pages import page_letters
from tests.messages.letters_plain import plain_letters

FOLDER: Final = Path(__file__).parent
_HEAD: Final = """# Written by generate.py: the clients, and for each file the rules it breaks.
# envelope_from and rcpt stand where the platform gave an envelope; code is the active code.

[clients.shop]
sending_domain = "news.shop.example"
mailing_id = "shop-standard"
codes.SPRING26 = { mailing_id = "spring-26", sub_client = "shop-de" }
codes.WINTER25 = { mailing_id = "winter-25", sub_client = "shop-at" }

[clients.bank]
sending_domain = "mail.bank.example"
mailing_id = "bank-standard"
"""


def every_letter() -> list[Letter]:
    """The whole set."""
    return plain_letters() + page_letters() + header_letters() + broken_letters()


def expected(letters: list[Letter]) -> str:
    """The contents of expected.toml."""
    return _HEAD + "".join(_entry(letter) for letter in letters)


def _entry(letter: Letter) -> str:
    rules = ", ".join(json.dumps(rule) for rule in letter.rules)
    text = f'\n[messages."{letter.name}.eml"]\nclient = "{letter.client}"\nrules = [{rules}]\n'
    for key in ("envelope_from", "rcpt", "code", "note"):
        value = getattr(letter, key)
        text += f"{key} = {json.dumps(value)}\n" if value else ""
    return text


def main() -> None:
    """Write all files again."""
    letters = every_letter()
    for old in FOLDER.glob("*.eml"):
        old.unlink()
    for letter in letters:
        (FOLDER / f"{letter.name}.eml").write_bytes(letter.content)
    (FOLDER / "expected.toml").write_text(expected(letters), "utf-8", newline="\n")
    print(f"{len(letters)} files, {sum(len(letter.content) for letter in letters)} bytes")


if __name__ == "__main__":
    main()
