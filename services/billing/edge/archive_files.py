"""Writes the files of an archive, and the notes about archived and deleted offsets.

A file is written under a temporary name, synced to disk and then renamed. A lock file ensures that
only one process writes to an archive at a time.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct, structs

from services.billing.edge.archive import PARTIAL, SUM, DamagedFile, Gap
from shared.runtime.errors import UsageError

# The folders in which files are written.
_PLACES: Final = ("", "events/", "events/*/", "statements/")


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Lock this archive for writing. Raises UsageError if another process has locked it."""
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
        except OSError:  # the file system does not support locks
            yield
            return
        yield


class _Stored(Struct, frozen=True):
    """The content of the file deleted.json."""

    deleted: list[Gap]
    archived: dict[int, int]


class Notes:
    """The notes of an archive. They are in the file `deleted.json` of the archive.

    The notes have the offsets whose records Kafka deleted before they could be archived. They also
    have the offset up to which each partition was archived. An archive that has files but no notes
    was written by an earlier version.
    """

    def __init__(self, folder: Path, ends: Mapping[int, int]) -> None:
        """`ends` has, for each partition, the offset after its last file. Raises DamagedFile."""
        self._path = folder / "deleted.json"
        self._deleted = list[Gap]()
        self.archived = dict(ends)
        is_noted = self._path.exists()
        self._is_earlier = bool(ends) and not is_noted
        known = self._load() if is_noted else {}
        if not self._is_earlier and (not is_noted or self.archived != known):
            self._store()  # the archive is new, or a process died before it could note a file

    def note_end(self, partition: int, end: int) -> None:
        """Write to the notes that every offset below `end` is archived or noted as deleted."""
        if end > self.archived.get(partition, 0):
            self.archived[partition] = end
            self._store()

    def note_deleted(self, gap: Gap) -> None:
        """Write to the notes that Kafka has deleted the records of this gap. The gap begins after
        the last archived offset."""
        self._deleted = sorted([*self._deleted, gap])
        self.note_end(gap.partition, gap.end)

    def unknown(self, gaps: Sequence[Gap]) -> list[Gap]:
        """Return the parts of these gaps that are not in the notes as deleted.

        If an earlier version wrote the archive, return all these gaps, and note them as deleted.
        """
        if not self._is_earlier:
            return [rest for gap in gaps for rest in self._rest(gap)]
        self._is_earlier = False
        self._deleted = sorted(gaps)
        self._store()
        return list(gaps)

    def _rest(self, gap: Gap) -> list[Gap]:
        found, begin = list[Gap](), gap.begin
        for known in self._deleted:
            if known.partition == gap.partition and known.end > begin and known.begin < gap.end:
                if known.begin > begin:
                    found.append(structs.replace(gap, begin=begin, end=known.begin))
                begin = known.end
        return [*found, structs.replace(gap, begin=begin)] if begin < gap.end else found

    def _load(self) -> dict[int, int]:
        """Load the notes. Return the offset up to which each partition was archived."""
        try:
            stored = msgspec.json.decode(self._path.read_bytes(), type=list[Gap] | _Stored)
        except (OSError, msgspec.MsgspecError) as error:
            raise DamagedFile(f"{self._path}: the file is damaged ({error})") from None
        if not isinstance(stored, _Stored):
            stored = _Stored(stored, {})
        self._deleted = stored.deleted
        for partition, end in stored.archived.items():
            self.archived[partition] = max(end, self.archived.get(partition, 0))
        return stored.archived

    def _store(self) -> None:
        store(self._path, [msgspec.json.encode(_Stored(self._deleted, self.archived))])


def remove_leftovers(folder: Path) -> None:
    """Remove the files that a dead process has left. These are unfinished files, and files with the
    SHA-256 of a file that does not exist.

    If a SHA-256 without its file remained, `sha256sum -c` would fail. Raises OSError.
    """
    for where in _PLACES:
        for partial in folder.glob(f"{where}*{PARTIAL}"):
            partial.unlink()
    for each in folder.glob(f"events/*/*{SUM}"):
        if not each.with_name(each.name.removesuffix(SUM)).exists():
            each.unlink()


def store(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file atomically."""
    partial = path.with_name(path.name + PARTIAL)
    with partial.open("wb") as file:
        file.writelines(pieces)
    rename(partial, path)


def rename(partial: Path, path: Path) -> None:
    """Sync a file to disk, then rename the file to its final name."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems cannot sync folders
            os.fsync(folder)
    finally:
        os.close(folder)
