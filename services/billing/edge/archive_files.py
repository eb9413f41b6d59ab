"""The files of an archive: who may write, how one is stored, and what is noted as deleted.

A file is written under another name, stored on disk and then renamed. One process writes at a time:
it locks a file.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from msgspec import structs

from services.billing.edge.archive import PARTIAL, Gap
from shared.runtime.errors import UsageError


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Be the only process that writes to this archive. Raises UsageError beside another one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("wb")
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"{folder}: another `billing archive` is writing to it; run one at a time"
            ) from None
        except OSError:  # a file system without locks
            yield
            return
        yield


class DeletedList:
    """The gaps that were deleted from Kafka before they were archived."""

    def __init__(self, folder: Path) -> None:
        """Raises UsageError for a list that cannot be read."""
        self._path = folder / "deleted.json"
        self._gaps: list[Gap] | None = None
        if self._path.exists():
            try:
                self._gaps = msgspec.json.decode(self._path.read_bytes(), type=list[Gap])
            except (OSError, msgspec.MsgspecError) as error:
                raise UsageError(f"{self._path}: {error}") from None

    def add(self, gap: Gap) -> None:
        """Note a gap, on disk."""
        self._gaps = sorted([*(self._gaps or []), gap])
        store(self._path, [msgspec.json.encode(self._gaps)])

    def rest(self, gap: Gap) -> list[Gap]:
        """What of a gap is not noted. Without a list, it is noted now."""
        if self._gaps is None:
            self.add(gap)
            return [gap]
        found, begin = list[Gap](), gap.begin
        for known in self._gaps:
            if known.partition == gap.partition and known.end > begin and known.begin < gap.end:
                if known.begin > begin:
                    found.append(structs.replace(gap, begin=begin, end=known.begin))
                begin = known.end
        return [*found, structs.replace(gap, begin=begin)] if begin < gap.end else found


def store(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file whole, or not at all."""
    partial = path.with_name(path.name + PARTIAL)
    with partial.open("wb") as file:
        file.writelines(pieces)
    rename(partial, path)


def rename(partial: Path, path: Path) -> None:
    """Give a file its name when it is stored on disk."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems do not store folders
            os.fsync(folder)
    finally:
        os.close(folder)
