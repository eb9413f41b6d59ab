"""The key of a pipeline's return paths: made once, so that bounces of earlier mail are known.

Owns: its file. In production the file has several keys, with a rotation (docs/returned-mail.md).
"""

from __future__ import annotations

import datetime
import secrets
from pathlib import Path
from typing import Final

from local.parts.whole_file import write_whole

_SECRET_OCTETS: Final = 32


def make_return_keys(folder: Path) -> Path:
    """The keys file in this folder; made with one key when it is not there."""
    path = folder / "return-path-keys"
    if path.exists():
        return path
    today = datetime.datetime.now(datetime.UTC).date()
    text = f"1 {today.isoformat()} {secrets.token_hex(_SECRET_OCTETS)}\n"
    # Created with this mode, so the secret is never readable by others.
    write_whole(path, text, mode=0o600)
    return path
