"""A PostgreSQL server for a test, in a separate folder, on a Unix socket."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from local.parts.packages import find_program

_USER: Final = "postgres"
_VERSIONS: Final = Path("/usr/lib/postgresql")


class Postgresql:
    """A server; `url` is its address while it runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "data"
        self.url = f"postgresql://{_USER}@/postgres?host={folder}"
        self._run("initdb", "-D", str(self._data), "-U", _USER, "-A", "trust", "-N", "-E", "UTF8")

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-c listen_addresses= -c unix_socket_directories={self._folder} -c fsync=off"
        log = str(self._folder / "log")
        self._run(
            "pg_ctl", "-D", str(self._data), "-l", log, "-w", "-t", "120", "-o", options, "start"
        )

    def stop(self) -> None:
        """Stop it at once, with its connections."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-t", "120", "-m", "immediate", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [_find(program), *arguments],
            check=True,
            capture_output=True,
            user=_USER if os.getuid() == 0 else None,
            cwd=self._folder,
        )


@contextmanager
def postgresql() -> Iterator[Postgresql]:
    """Run a server. Its folder is readable for its user; the short name is for the socket."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    if os.getuid() == 0:
        shutil.chown(folder, _USER)
    server = Postgresql(folder)
    server.start()
    try:
        yield server
    finally:
        try:
            server.stop()
        finally:
            shutil.rmtree(folder)


def _find(program: str) -> str:
    """Find the server's programs, which Debian does not put on the path."""
    found = find_program(program)
    if found:
        return str(found)
    return str(max(_VERSIONS.glob(f"*/bin/{program}")))
