"""Reads a clients.yaml that a command was given; - is standard input."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from shared.registry.client import Client
from shared.registry.file.clients_file import parse_clients_yaml


def read_clients(path: Path, option: str = "-f") -> list[Client]:
    """The clients in a file. Raises RegistryError, click.UsageError."""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text("utf-8")
    except OSError as error:
        raise click.UsageError(f"{option} {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{option} {path}: not UTF-8 ({error})") from None
    return parse_clients_yaml(text, "standard input" if str(path) == "-" else str(path))
