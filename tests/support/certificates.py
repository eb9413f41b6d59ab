"""A self-signed certificate for a test's server, like that of a pipeline for `localhost`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from local.parts.credentials import make_certificate


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Write a new certificate and its key, replacing existing files; return the paths."""
    files = make_certificate(Path(tempfile.mkdtemp(dir=folder)))
    return files.certificate.replace(folder / "cert.pem"), files.key.replace(folder / "key.pem")
