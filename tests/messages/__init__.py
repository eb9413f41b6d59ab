"""The message set: real messages, each with the rules it breaks. `load()` reads them all.

Owns: the .eml files, expected.toml, and reading both. generate.py writes the files.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from msgspec import Struct, convert

FOLDER: Final = Path(__file__).parent


class SampleCode(Struct, frozen=True):
    """A code of the client, and where it is billed."""

    mailing_id: str
    sub_client: str = ""


class SampleClient(Struct, frozen=True):
    """A client that sends the set; the standard mailing ID applies without a code."""

    name: str
    sending_domain: str
    mailing_id: str
    codes: Mapping[str, SampleCode] = {}


class Sample(Struct, frozen=True):
    """One message, its sender, and the rules it breaks, in order (none: it may pass).

    envelope_from and rcpt are "" if the platform gives no envelope; code is the active code
    that the message names.
    """

    name: str
    content: bytes
    client: SampleClient
    rules: tuple[str, ...]
    envelope_from: str = ""
    rcpt: str = ""
    code: str = ""
    note: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the message breaks no rule."""
        return not self.rules

    @property
    def mailing(self) -> tuple[str, str]:
        """The mailing ID and sub-client that it is billed to."""
        found = self.client.codes.get(self.code)
        return (found.mailing_id, found.sub_client) if found else (self.client.mailing_id, "")


@cache
def clients() -> Mapping[str, SampleClient]:
    """The clients of the set by name."""
    rows = _expected()["clients"]
    return {name: convert({"name": name, **row}, SampleClient) for name, row in rows.items()}


@cache
def load() -> tuple[Sample, ...]:
    """Every message of the set, in the order of expected.toml."""
    return tuple(_sample(name, row) for name, row in _expected()["messages"].items())


def _sample(name: str, row: Mapping[str, Any]) -> Sample:
    content = (FOLDER / name).read_bytes()
    client = clients()[row["client"]]
    rest = {key: value for key, value in row.items() if key not in {"client", "rules"}}
    return Sample(name, content, client, tuple(row["rules"]), **rest)


@cache
def _expected() -> dict[str, Any]:
    return tomllib.loads((FOLDER / "expected.toml").read_text("utf-8"))
