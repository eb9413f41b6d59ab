"""A command whose output stays in the buffer until the process ends."""

from __future__ import annotations

import sys

import click

from shared.runtime.run_command import run_command


@click.command()
def main() -> None:
    """Write a word."""
    if sys.stdout is not None:
        sys.stdout.write("word")


if __name__ == "__main__":
    run_command(main, "little-output")
