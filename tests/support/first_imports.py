"""Chooses which test modules each process of a run imports first, so that each is compiled once.

Job: give each process of pytest-xdist a share of the test modules to import before it collects. On
a new checkout, the import of a module compiles it and rewrites its assertions. This takes twice as
long as the rest of a collection, and without shares all processes compile the same modules at the
same time. With shares, each process finds the modules that the others have compiled.
Owns: the shares. Does not own: the place of compiled code (launcher/commands.py), and the
collection, which imports the other modules.

On failure: if a module cannot be imported, the collection imports it again and reports the error.
If compiled code may not be written, nothing is imported first.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest


def share(sizes: Sequence[int], number: int, count: int) -> slice:
    """Return the places of one of `count` consecutive shares of about the same total size."""
    total, before = sum(sizes), 0
    places = []
    for place, size in enumerate(sizes):
        # The middle of a place decides, so that each place belongs to one share.
        if (before + size / 2) * count // max(total, 1) == number:
            places.append(place)
        before += size
    return slice(places[0], places[-1] + 1) if places else slice(0, 0)


def import_share(folder: Path, number: int, count: int) -> None:
    """Import a process's share of the test modules in a folder, which is a package."""
    if sys.dont_write_bytecode:
        return
    files = sorted(folder.rglob("test_*.py"))
    mine = files[share([file.stat().st_size for file in files], number, count)]
    import_modules(".".join(file.relative_to(folder.parent).with_suffix("").parts) for file in mine)


def import_modules(names: Iterable[str]) -> None:
    """Import modules; errors are left to the collection."""
    for name in names:
        with suppress(Exception, pytest.skip.Exception):
            importlib.import_module(name)
