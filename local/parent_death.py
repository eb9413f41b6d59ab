"""Starts a program that must not outlive whoever started it.

`python parent_death.py PARENT_PID PROGRAM [ARGUMENTS]` asks the kernel to kill this process when
its parent ends (PR_SET_PDEATHSIG, kept across exec), then becomes the program. So a kill -9 of the
supervisor leaves no broker behind. The signal follows the thread that started the process:
supervisor.py starts everything from one thread that lives as long as it does.

Run as a file by the plain interpreter (-I -S): it costs 15 ms and imports nothing of ours.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PARENT_GONE: Final = 143


def main() -> None:
    """Tie this process to its parent and become the program."""
    parent, program, *arguments = sys.argv[1:]
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it died before the kernel knew
        sys.exit(_PARENT_GONE)
    os.execvp(program, [program, *arguments])  # noqa: S606 - that is the point


if __name__ == "__main__":
    main()
