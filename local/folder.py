"""Turns a folder of a pipeline that cannot be used into one sentence with a remedy.

The usual reason is that another user, such as root, ran the pipeline before. Owns: that sentence.
Does not own: errors of files elsewhere, which pass, and those of a running pipeline (a full disk
must not end it: up.py).
"""

from __future__ import annotations

import errno
import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cli.stack import paths
from local.process import PartNotStarted

_NOT_OURS: Final = frozenset({errno.EACCES, errno.EPERM})


@contextmanager
def usable_folder() -> Iterator[None]:
    """Inside, an OSError of a file of a pipeline is raised as PartNotStarted."""
    try:
        yield
    except OSError as error:
        path = Path(str(error.filename or ""))  # a number, if it is of an open file
        if not path.is_relative_to(paths.STATE):
            raise
        raise PartNotStarted(folder_fault(error, path)) from None


def folder_fault(error: OSError, path: Path) -> str:
    """Say why a file of a pipeline cannot be used, and what helps."""
    fault = f"{path}: {error.strerror}"
    if error.errno not in _NOT_OURS:
        return fault
    owner, me = _owner(path), _me()
    whose = f"it belongs to {owner}: " if owner not in ("", me) else ""
    return f"{fault}; {whose}give it to this user (chown -R {me} {paths.STATE})"


def _owner(path: Path) -> str:
    """The owner of the path or, if it does not exist, of the nearest folder above it."""
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
