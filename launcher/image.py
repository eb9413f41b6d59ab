#!/usr/bin/env python3
"""`sluice` in the container image: runs a command with the Python and the packages of the image.

The table of commands is in commands.py. Commands whose code is not in the image (demo, up, bench,
test, ...) are not offered. This module uses only the standard library. Exit code 2: there is no
such command.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from launcher.commands import COMMANDS, HELP_OPTIONS, Command

PROGRAM = "sluice"


def offered(root: Path) -> dict[str, Command]:
    """Return the commands whose packages are below `root`."""
    return {
        name: command
        for name, command in COMMANDS.items()
        if command.module and (root / command.module.partition(".")[0]).is_dir()
    }


def usage(commands: dict[str, Command]) -> str:
    """Return the text of --help."""
    widest = max(map(len, commands))
    listed = [f"  {name:<{widest}}  {command.what}" for name, command in commands.items()]
    return "\n".join([f"usage: {PROGRAM} COMMAND [OPTIONS]", "", "commands:", *listed])


def main(arguments: Sequence[str], root: Path) -> int:
    """Replace this process by the command; return an exit code if there is no such command."""
    commands = offered(root)
    if not arguments or arguments[0] in HELP_OPTIONS:
        print(usage(commands), file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    name, *rest = arguments
    if name not in commands:
        print(f"{PROGRAM}: no command is named {name!r} in this image", file=sys.stderr)
        return 2
    line = [sys.executable, "-m", commands[name].module, *rest]
    os.execve(sys.executable, line, {**os.environ, "SLUICE_COMMAND": PROGRAM})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path(__file__).resolve().parents[1]))
