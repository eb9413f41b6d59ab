"""A command whose output stays in the buffer until the process ends."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from shared.runtime.commands import run_command


@click.command()
@click.argument("file", default="")
def main(file: str) -> None:
    """Write a word, also to a file if one is named."""
    if file:
        Path(file).write_text("word")
    if sys.stdout is not None:
        sys.stdout.write("word")


if __name__ == "__main__":
    run_command(main, "little-output")
