"""Loads the shaping rules: first the shipped files, then the operator's file."""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from services.deliver.core.shaping.parsing import ShapingFaults, ShapingFile, combine, parse_file
from services.deliver.core.shaping.rules import Rules

_PACKAGE: Final = "services.deliver.rules.shaping"
SHIPPED: Final = ("providers.toml", "reputation.toml", "replies.toml")
MAX_BYTES: Final = 1_000_000


def load_rules(path: str = "") -> Rules:
    """Return the rules of the shipped files and of the operator's file.

    If `path` is "", only the shipped files are read. Raises ShapingFaults with a line per fault.
    """
    files = [_shipped(name) for name in SHIPPED]
    if path:
        files.append(read_file(path))
    return combine(files)


def read_file(path: str) -> ShapingFile:
    """Read an operator's file. Raises ShapingFaults."""
    try:
        content = Path(path).read_bytes()
        if len(content) > MAX_BYTES:
            raise ShapingFaults([f"{path}: found {len(content)} bytes, expected at most 1 MB"])
        text = content.decode()
    except OSError as error:
        raise ShapingFaults([f"{path}: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise ShapingFaults([f"{path}: not UTF-8 at byte {error.start}"]) from None
    return parse_file(text, path)


def _shipped(name: str) -> ShapingFile:
    text = importlib.resources.files(_PACKAGE).joinpath(name).read_text(encoding="utf-8")
    found = parse_file(text, name)
    replies = [replace(reply, is_shipped=True) for reply in found.replies]
    return replace(found, replies=replies)
