"""Reads and extends the folder of DKIM keys (RFC 6376, RFC 8463).

The folder contains the table `keys.toml` and the key files that the table lists. This module
decides which keys are accepted, owns the form of a key file, reads the folder and adds keys. The
form of the table and the times at which a key is used are in table.py. services/deliver checks the
folder for changes. load() returns all keys or raises an exception. A file that has not changed is
not loaded again. A rotation writes the key files first, and then replaces the table in one step. So
a reader never finds a table whose files are missing. No error text contains a key.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from shared.mailauth.dkim_keys.table import (
    ED25519,
    MAX_TABLE_BYTES,
    RSA,
    RSA_BITS,
    TABLE,
    Key,
    KeyEntry,
    KeyTableError,
    encode_entry,
    parse_table,
)

PrivateKey = RSAPrivateKey | Ed25519PrivateKey
_Stamp = tuple[int, int, int]
NewKey = tuple[KeyEntry, PrivateKey]
_HEADING: Final = "# DKIM keys; `sluice dkim rotate` appends to this file.\n\n"
EXPECTED: Final = "an unencrypted private key in PEM: RSA of 2048 to 4096 bits, or Ed25519"
_PUBLIC_EXPONENT: Final = 65_537
# A key file is much smaller than this limit. With a key of 4096 bits, the file has 3.2 KB.
_MAX_BYTES: Final = 64 * 1024


class KeyFolder:
    """One folder of keys. Only one thread may use it at a time."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._stamp: tuple[_Stamp, ...] = ()
        self._loaded: dict[str, tuple[_Stamp, PrivateKey]] = {}
        self._files: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """Return the folder."""
        return self._path

    def has_changed(self) -> bool:
        """Return True if a file has changed since load()."""
        return self._look() != self._stamp

    def load(self) -> list[Key[PrivateKey]]:
        """Load the table and the keys that it lists. Raises KeyFault."""
        # Take the stamp of the table before the table is read, so that has_changed() also notices a
        # change during the load.
        table = _stamp_of(self._path / TABLE)
        # The stamp is empty until everything is loaded. So after a failed load, has_changed()
        # returns True. This is needed because a fault may end although no file changes.
        self._stamp = ()
        entries = read_table(self._path)
        self._files = tuple(sorted({entry.file for entry in entries}))
        stamp = (table, *self._look()[1:])
        loaded = {name: self._load_file(name) for name in self._files}
        self._loaded, self._stamp = loaded, stamp
        return [
            Key(entry, algorithm_of(loaded[entry.file][1]), loaded[entry.file][1])
            for entry in entries
        ]

    def _load_file(self, name: str) -> tuple[_Stamp, PrivateKey]:
        path = self._path / name
        stamp = _stamp_of(path)
        before = self._loaded.get(name)
        return before if before is not None and before[0] == stamp else (stamp, load_key(path))

    def _look(self) -> tuple[_Stamp, ...]:
        table = _stamp_of(self._path / TABLE)
        return (table, *(_stamp_of(self._path / name) for name in self._files))


class KeyFault(Exception):
    """A file contains no valid key. The error contains the file name and the expected content."""


def read_table(folder: Path) -> tuple[KeyEntry, ...]:
    """Return the entries of a folder's table. Raises KeyFault."""
    path = folder / TABLE
    try:
        with path.open("rb") as file:
            octets = file.read(MAX_TABLE_BYTES + 1)
        if len(octets) > MAX_TABLE_BYTES:
            raise KeyFault(f"{path}: larger than {MAX_TABLE_BYTES} bytes")
        return parse_table(octets.decode())
    except OSError as error:
        raise KeyFault(f"{path}: {error.strerror}; it must list the keys") from None
    except UnicodeDecodeError:
        raise KeyFault(f"{path}: not text in UTF-8") from None
    except KeyTableError as error:
        raise KeyFault(f"{path}: {error}") from None


def add_keys(folder: Path, keys: Sequence[NewKey]) -> None:
    """Write the key files, and then add their entries to the table. Raises OSError, KeyFault."""
    with _locked(folder):
        _add_keys(folder, keys)


def load_key(path: str | Path) -> PrivateKey:
    """Load a private key from a PEM file. Raises KeyFault."""
    try:
        with Path(path).open("rb") as file:
            key = load_pem_private_key(file.read(_MAX_BYTES), password=None)
    except OSError as error:
        raise KeyFault(f"{path}: {error.strerror}; it must hold {EXPECTED}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Do not show the error of the library, because it may quote the file. If the key is
        # encrypted, the error is a TypeError.
        raise KeyFault(f"{path}: cannot be read as a key; it must hold {EXPECTED}") from None
    if isinstance(key, Ed25519PrivateKey):
        return key
    if isinstance(key, RSAPrivateKey) and key.key_size in RSA_BITS:
        return key
    bits = f" of {key.key_size} bits" if isinstance(key, RSAPrivateKey) else ""
    kind = type(key).__name__.removesuffix("PrivateKey").lstrip("_")
    raise KeyFault(f"{path}: a key of kind {kind}{bits}; it must hold {EXPECTED}")


def algorithm_of(key: PrivateKey) -> str:
    """Return the value of a= for signatures with this key."""
    return RSA if isinstance(key, RSAPrivateKey) else ED25519


def make_key(algorithm: str, rsa_bits: int) -> PrivateKey:
    """Make a new key."""
    if algorithm == ED25519:
        return Ed25519PrivateKey.generate()
    return rsa.generate_private_key(public_exponent=_PUBLIC_EXPONENT, key_size=rsa_bits)


def write_key(path: Path, key: PrivateKey) -> None:
    """Write a key to a new file that only its owner can read. Raises OSError."""
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the table against other processes. If this process ends, the lock is released."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _add_keys(folder: Path, keys: Sequence[NewKey]) -> None:
    path = folder / TABLE
    if path.exists():
        read_table(folder)  # Raises KeyFault if the table is not valid.
        text = path.read_text("utf-8")
    else:
        text = _HEADING
    for entry, key in keys:
        write_key(folder / entry.file, key)
        if not text.endswith("\n\n"):
            text += "\n" if text.endswith("\n") else "\n\n"
        text += encode_entry(entry)
    try:
        parse_table(text)  # Raises KeyTableError if another rotation has added the selector.
    except KeyTableError as error:
        raise KeyFault(f"{path}: {error}") from None
    _replace(path, text)


def _replace(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with new.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            new.chmod(path.stat().st_mode & 0o777)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _stamp_of(path: Path) -> _Stamp:
    try:
        stat = path.stat()
    except OSError:
        return 0, 0, 0
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
