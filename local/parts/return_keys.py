"""The key of a pipeline's return paths: made once, so that bounces of earlier mail are known.

Owns: its file. In production the file has several keys, with a rotation (docs/returned-mail.md).
"""

from __future__ import annotations

import datetime
import os
import secrets
from pathlib import Path
from typing import Final

_SECRET_OCTETS: Final = 32


def make_return_keys(folder: Path) -> Path:
    """The keys file in this folder; made with one key when it is not there."""
    path = folder / "return-path-keys"
    if path.exists():
        return path
    today = datetime.datetime.now(datetime.UTC).date()
    text = f"1 {today.isoformat()} {secrets.token_hex(_SECRET_OCTETS)}\n"
    part = path.with_suffix(".part")
    # Created with mode 0600, so the secret is never readable by others.
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(text)
    part.replace(path)
    return path
