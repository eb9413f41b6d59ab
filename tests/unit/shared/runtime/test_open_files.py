"""The limit on open files is set to what a process may need, within the hard limit."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
from shared.runtime.machine import allow_open_files
soft, hard, count = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(allow_open_files(count), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "count", "allowed", "after"),
    [
        (1_024, 4_096, 2_000, 2_000, 2_256),
        (1_024, 4_096, 700, 700, 1_024),
        (1_024, 1_024, 2_000, 768, 1_024),
        (512, 2_000, 4_000, 1_744, 2_000),
    ],
)
def test_the_soft_limit_is_raised_as_far_as_it_goes(
    soft: int, hard: int, count: int, allowed: int, after: int
) -> None:
    command = [sys.executable, "-c", SCRIPT, *map(str, (soft, hard, count))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(allowed), str(after), str(hard)]
    assert ("raise the limit" in done.stderr) is (allowed < count)
