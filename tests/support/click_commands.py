"""Finds every Click command of the launcher with all its verbs, by the words that a user types."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import click

from launcher.commands import COMMANDS
from services.billing.cli import group as billing
from services.deliver.app import serve
from services.deliver.cli.shaping import group as shaping
from services.deliver.cli.sources import group as sources
from services.deliver.settings import Settings
from shared.runtime.service_cli import service_cli


def all_commands() -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}
    for name, command in COMMANDS.items():
        if command.is_click:
            found.update(_walk(name, _load(name, command.module)))
    return found


def _load(name: str, module: str) -> click.Command:
    if name == "billing":
        return billing
    if name == "shaping":
        return shaping
    if name == "sources":
        return sources
    if module.startswith("services."):  # these have only the common verbs
        return service_cli(name, Settings, serve)
    loaded = importlib.import_module(module)
    if hasattr(loaded, "__path__"):
        loaded = importlib.import_module(f"{module}.__main__")
    main = loaded.main
    assert isinstance(main, click.Command)
    return main


def _walk(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for verb, inner in command.commands.items():
            yield from _walk(f"{name} {verb}", inner)
