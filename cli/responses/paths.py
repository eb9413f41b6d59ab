"""The files that a path means: itself, or every file below a folder.

Owns: walking folders in the order of their names; what is no file there is left out. Does not own:
reading messages (cli/check/files.py). What cannot be read comes as a FileFault in its place.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from cli.check.files import STANDARD_INPUT, FileFault, shown


def files_of(path: str) -> Iterator[str | FileFault]:
    """The files of a path, in order; a folder that cannot be read is a FileFault."""
    if path == STANDARD_INPUT or not Path(path).is_dir():
        yield path
        return
    faults: list[OSError] = []
    for folder, folders, names in os.walk(path, onerror=faults.append):
        folders.sort()
        files = (Path(folder, name) for name in sorted(names))
        # Opening a FIFO or a device could wait for ever.
        yield from (str(file) for file in files if file.is_file())
        while faults:
            yield _fault(faults.pop())
    while faults:
        yield _fault(faults.pop())


def _fault(error: OSError) -> FileFault:
    return FileFault(f"{shown(str(error.filename))}: {error.strerror}")
