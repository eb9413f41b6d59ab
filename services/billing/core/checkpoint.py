"""Checkpoints on the topic billing.statements. A checkpoint has all cells, and the offsets up to
which the events were counted.

A checkpoint consists of a manifest, whose key is `checkpoint/<token>`, and chunks of cells, whose
keys are `cells/<month>/<token>/<number>`. The chunks are written before the manifest. So all chunks
of a manifest exist, unless another process has removed them. If chunks were removed, the previous
manifest is used. If a month has not changed, the next checkpoint refers to the same chunks.

A record with the key `void/<generation>` means that the counts of this generation were dropped.
After this record is written, the checkpoints of this generation are not used, and no checkpoint
before this record is used.

Every checkpoint has the correct counts up to its offsets. So the cells can also be restored from an
older checkpoint. Then more events have to be counted again, but no counts are lost if mail.events
still has all events after the offsets of the checkpoint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
from msgspec import Struct

from services.billing.core.closing.lines import KeepsParts
from shared.store.read_cells import Counts, Snapshot

MANIFEST: Final = "checkpoint/"
CELLS: Final = "cells/"
VOID: Final = "void/"
CHUNK_BYTES: Final = 512 * 1024
# An estimate of the bytes that a cell takes in msgpack, without the bytes of its name.
_CELL_BYTES: Final = 16
_NOWHERE: Final = -1


class StoredMonth(Struct, frozen=True):
    """The chunks with the cells of a month.

    The month has changed after the checkpoint if the store has another `version` of the month, or
    if the generation of the store differs from the generation of the manifest.
    """

    version: int
    chunks: tuple[str, ...]  # The keys of the chunks, in order.
    sha256: str  # The SHA-256 of all chunks, in this order.


class Manifest(Struct, frozen=True):
    """A checkpoint without its cells."""

    at_ms: int
    log: str
    generation: str
    watermarks: dict[str, int]
    holes: dict[str, str]
    months: dict[str, StoredMonth]


_manifest: Final = msgspec.json.Decoder(Manifest)
_chunk: Final = msgspec.msgpack.Decoder(dict[str, int])


def encode_chunks(cells: Iterable[tuple[str, int]]) -> Iterator[bytes]:
    """Yield the cells of a month in chunks of about CHUNK_BYTES or less. A month without cells has
    one empty chunk."""
    chunk: dict[str, int] = {}
    size, is_first = 0, True
    for name, number in cells:
        chunk[name] = number
        size += len(name) * 3 + _CELL_BYTES
        if size >= CHUNK_BYTES:
            yield msgspec.msgpack.encode(chunk)
            chunk, size, is_first = {}, 0, False
    if chunk or is_first:
        yield msgspec.msgpack.encode(chunk)


def changed_months(found: Snapshot, before: Manifest | None) -> list[str]:
    """Return the months whose cells differ from the cells in the checkpoint `before`. These months
    must be written. The snapshot `found` need not contain cells."""
    if before is None or before.generation != found.generation:
        return sorted(found.versions)
    return sorted(
        month
        for month, version in found.versions.items()
        if month not in before.months or before.months[month].version != version
    )


def is_due(found: Snapshot, before: Manifest | None) -> bool:
    """Return True if anything was counted after the checkpoint `before`, and no counts are lost."""
    if not found.whole or not found.log:
        return False
    marks = {str(partition): mark for partition, mark in found.watermarks.items()}
    return (
        before is None
        or before.generation != found.generation
        or before.watermarks != marks
        or before.log != found.log
    )


class Checkpoints:
    """Finds the checkpoints in the records of the topic. The records must be added in their order.
    `kept` stores the chunks. If `kept` is None, the chunks are not stored."""

    def __init__(self, kept: KeepsParts | None = None) -> None:
        self._kept = kept
        self._chunks: dict[str, int] = {}
        self._manifests: dict[str, Manifest] = {}
        self._void: set[str] = set()

    def add(self, key: bytes | None, value: bytes | None) -> None:
        """Add the next record. A record with invalid content is ignored. Raises an error if a chunk
        cannot be stored."""
        name = (key or b"").decode("utf-8", "replace")
        if name.startswith(CELLS):
            if value is None:
                self._chunks.pop(name, None)
            else:
                self._chunks[name] = self._kept.add(value) if self._kept is not None else _NOWHERE
        elif name.startswith(VOID):
            self._void.add(name.removeprefix(VOID))
            self._manifests.clear()
        elif name.startswith(MANIFEST):
            self._add_manifest(name, value)

    def best(self) -> Manifest | None:
        """Return the last complete checkpoint. Return None if no checkpoint is complete."""
        for manifest in reversed(self._manifests.values()):
            if self._is_complete(manifest):
                return manifest
        return None

    def snapshots(self) -> Iterator[tuple[Snapshot, Counts]]:
        """Yield, for each checkpoint, a snapshot without cells, and the cells. The newest
        checkpoint comes first.

        Checkpoints whose chunks were not stored in `kept` are left out. The cells are read in
        pieces.
        """
        for manifest in reversed(self._manifests.values()):
            if self._is_complete(manifest) and self._is_sound(manifest):
                yield _snapshot_of(manifest), self._cells(manifest)

    def unused(self) -> list[str]:
        """Return the keys of manifests and chunks that the best checkpoint does not need."""
        best = self.best()
        if best is None:
            return []
        needed = {key for month in best.months.values() for key in month.chunks}
        old = [name for name, manifest in self._manifests.items() if manifest is not best]
        return [*old, *(key for key in self._chunks if key not in needed)]

    def _add_manifest(self, name: str, value: bytes | None) -> None:
        self._manifests.pop(name, None)
        if value is None:
            return
        try:
            manifest = _manifest.decode(value)
            _ = [int(partition) for partition in (*manifest.watermarks, *manifest.holes)]
        except (ValueError, RecursionError):
            return
        if manifest.generation not in self._void:
            self._manifests[name] = manifest

    def _is_complete(self, manifest: Manifest) -> bool:
        return all(key in self._chunks for each in manifest.months.values() for key in each.chunks)

    def _chunks_of(self, stored: StoredMonth) -> Iterator[bytes]:
        if self._kept is not None:
            yield from (self._kept.get(self._chunks[key]) for key in stored.chunks)

    def _is_sound(self, manifest: Manifest) -> bool:
        """Return True if the chunks have the hash that is in the manifest, and can be decoded."""
        for stored in manifest.months.values():
            if self._kept is None or digest(self._chunks_of(stored)) != stored.sha256:
                return False
            try:
                for chunk in self._chunks_of(stored):
                    _chunk.decode(chunk)
            except (ValueError, RecursionError):
                return False
        return True

    def _cells(self, manifest: Manifest) -> Counts:
        for month, stored in manifest.months.items():
            for chunk in self._chunks_of(stored):
                for name, number in _chunk.decode(chunk).items():
                    yield month, name, number


def _snapshot_of(manifest: Manifest) -> Snapshot:
    return Snapshot(
        whole=True,
        log=manifest.log,
        watermarks={int(key): mark for key, mark in manifest.watermarks.items()},
        holes={int(key): month for key, month in manifest.holes.items()},
        months={},
        generation=manifest.generation,
        versions=dict.fromkeys(manifest.months, 1),
    )


def digest(chunks: Iterable[bytes]) -> str:
    """Return the SHA-256 of the chunks of a month."""
    hashed = hashlib.sha256()
    for chunk in chunks:
        hashed.update(chunk)
    return hashed.hexdigest()
