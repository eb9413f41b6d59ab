"""Paths: the root of the tree, and the folder in it that holds all state (git ignores it)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
STATE: Final = ROOT / ".sluice"
RUNS: Final = STATE / "run"
KAFKA: Final = STATE / "kafka"
INSTALL_LOG: Final = STATE / "install.log"


def run_folder(name: str) -> Path:
    """The folder of one pipeline: its state.json, its logs, its broker's data."""
    return RUNS / name
