"""Fixtures of the tests of a whole line: a shell, and a line that runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from cli.stack import paths
from tests.support.group_scope import GroupScope
from tests.support.line_shell import Shell, UpLine


@contextmanager
def _shell() -> Iterator[Shell]:
    made = Shell()
    yield made
    for pid in made.left():
        with suppress(ProcessLookupError):  # the parts of a pipeline end with their keeper
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(paths.run_folder(made.name), ignore_errors=True)


@pytest.fixture
def shell() -> Iterator[Shell]:
    with _shell() as made:
        yield made


@pytest.fixture
def up_line(group_scope: GroupScope) -> UpLine:
    """The pipeline that `up` started, for tests of the xdist group `up-line`.

    The last of them ends it.
    """
    return group_scope.share("up-line", _up_line)


@contextmanager
def _up_line() -> Iterator[UpLine]:
    with _shell() as shell:
        yield UpLine(shell, up(shell))


@pytest.fixture
def running_apart(shell: Shell) -> dict[str, Any]:
    return up(shell, "--apart")


def up(shell: Shell, *options: str) -> dict[str, Any]:
    code, out, err = shell.run("local.up", "--detach", "--json", "--state", shell.name, *options)
    assert code == 0, err
    endpoints: dict[str, Any] = json.loads(out)
    return endpoints
