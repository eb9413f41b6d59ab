"""Writes the files of a pipeline atomically, and explains why a folder cannot be used.

A file is written whole or not at all. If a start is killed, the earlier file remains.

Most often a folder cannot be used because another user, such as root, ran the pipeline before.
Owns: the error text for this case, with a remedy. Does not own: errors with other files, which are
raised unchanged, and errors while a pipeline runs (up.py), because a full disk must not end the
pipeline.
"""

from __future__ import annotations

import errno
import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cli.stack import paths
from local.process import PartNotStarted

_NOT_OURS: Final = frozenset({errno.EACCES, errno.EPERM})
_FOR_ALL: Final = 0o666  # The umask of the process reduces this mode.


@contextmanager
def usable_folder() -> Iterator[None]:
    """Within the block, turn an OSError about a file of a pipeline into PartNotStarted."""
    try:
        yield
    except OSError as error:
        path = Path(str(error.filename or ""))  # For an open file, the filename is a number.
        if not path.is_relative_to(paths.STATE):
            raise
        raise PartNotStarted(folder_fault(error, path)) from None


def folder_fault(error: OSError, path: Path) -> str:
    """Return the reason why a file of a pipeline cannot be used, and a remedy."""
    fault = f"{path}: {error.strerror}"
    if error.errno not in _NOT_OURS:
        return fault
    owner, me = _owner(path), _me()
    whose = f"it belongs to {owner}: " if owner not in ("", me) else ""
    return f"{fault}; {whose}give it to this user (chown -R {me} {paths.STATE})"


def _owner(path: Path) -> str:
    """Return the owner of the path. If the path does not exist, return the owner of the nearest
    folder above it."""
    for each in (path, *path.parents):
        try:
            return each.owner()
        except KeyError:
            return "another user"
        except OSError:
            continue
    return ""


def _me() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "USER"


def write_whole(path: Path, text: str, mode: int = _FOR_ALL) -> None:
    """Replace the file, or create it, with this mode. Raises OSError."""
    draft = path.with_suffix(".part")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(text)
    draft.replace(path)
