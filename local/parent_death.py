"""Starts a program that must not outlive the process that started it.

`python parent_death.py PARENT_PID PROGRAM [ARGUMENTS]` asks the kernel to kill this process when
its parent ends, then executes the program. The request (PR_SET_PDEATHSIG) stays valid when the
program is executed. So no broker keeps running after a kill -9 of the supervisor. The kernel sends
the signal as soon as the thread that started the process ends, even if the parent process itself
continues. Therefore supervisor.py starts everything from one thread that lives as long as the
supervisor.

The interpreter runs this file with -I -S, which takes 15 ms and imports none of our code.
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
    """Ask the kernel to end this process with its parent, then execute the program."""
    parent, program, *arguments = sys.argv[1:]
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # The parent had already ended before prctl took effect.
        sys.exit(_PARENT_GONE)
    os.execvp(program, [program, *arguments])  # noqa: S606 - intended


if __name__ == "__main__":
    main()
