"""Which test modules a process of a run imports first, so that the processes compile each once.

Job: give each process of pytest-xdist a share of the test modules to import before it collects. On
a new checkout every module is compiled, and its assertions are rewritten, when it is imported,
which takes twice as long as all else in a collection; processes that import the same modules in
the same order do it all at the same time. With shares, each finds what the others have compiled.
Owns: the shares. Does not own: where compiled code is kept (launcher/commands.py), the collection,
which imports what is left.

On failure: a module that cannot be imported is imported again by the collection, which reports the
error. Where no compiled code may be written, nothing is imported first.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest


def share(sizes: Sequence[int], number: int, count: int) -> slice:
    """The places of one of `count` shares in a row, all of about the same size together."""
    total, before = sum(sizes), 0
    places = []
    for place, size in enumerate(sizes):
        # By its middle, so that each place belongs to one share.
        if (before + size / 2) * count // max(total, 1) == number:
            places.append(place)
        before += size
    return slice(places[0], places[-1] + 1) if places else slice(0, 0)


def import_share(folder: Path, number: int, count: int) -> None:
    """Import the share of a process of the test modules below a folder, which is a package."""
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
