"""Reads the table docs/promises.toml: promises with their tests, benchmark and target.

Owns: the form of the table, and the texts of faults in the table. The text of a fault contains the
promise, the field and the expected value.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from cli.stack import paths

TABLE: Final = paths.ROOT / "docs" / "promises.toml"


class Figure(Struct, frozen=True, forbid_unknown_fields=True):
    """A measured value: its source, its path in the document of the source, and its bound.

    `source` is a benchmark (`e2e` for `./sluice bench e2e --json`), or `long` for the long test
    runs (.sluice/long/chaos.json).
    """

    source: str
    path: str
    unit: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def key(self) -> str:
        """Return the name of the value in the results."""
        return f"{self.source}:{self.path}"

    def holds(self, value: float) -> bool:
        """Return True if the value is within its bound."""
        return (self.at_least is None or value >= self.at_least) and (
            self.at_most is None or value <= self.at_most
        )


class Promise(Struct, frozen=True, forbid_unknown_fields=True):
    """One promise.

    `tests` are node ids of functions without parameters, or paths of whole files.
    """

    promise: str
    tests: tuple[str, ...] = ()
    figure: Figure | None = None


class Chapter(Struct, frozen=True, forbid_unknown_fields=True):
    """A chapter of the page, with promises of one kind."""

    title: str
    promise: tuple[Promise, ...]


class Table(Struct, frozen=True, forbid_unknown_fields=True):
    """All chapters."""

    chapter: tuple[Chapter, ...]

    @property
    def promises(self) -> tuple[Promise, ...]:
        return tuple(each for chapter in self.chapter for each in chapter.promise)


class TableError(ValueError):
    """The table cannot be used. The text of the exception contains every fault."""


def load(path: Path = TABLE) -> Table:
    """Read the table. Raises TableError."""
    try:
        table = msgspec.toml.decode(path.read_bytes(), type=Table)
    except msgspec.DecodeError as error:
        raise TableError(f"{path.name}: {error}") from None
    if faults := list(_faults(table)):
        raise TableError("\n".join(f"{path.name}: {fault}" for fault in faults))
    return table


def _faults(table: Table) -> Iterator[str]:
    said: set[str] = set()
    for each in table.promises:
        if each.promise in said:
            yield f"{each.promise!r} is there twice; remove one"
        said.add(each.promise)
        if not each.tests and each.figure is None:
            yield f"{each.promise!r} has no test and no figure; name one in tests or figure"
        figure = each.figure
        if figure is not None and (figure.at_least is None) is (figure.at_most is None):
            yield f"{each.promise!r}: figure needs one of at_least and at_most"
