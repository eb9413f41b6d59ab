"""`config show` as users run it: it asks the four services, and shows no password."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

from cli.stack.paths import base_environment
from tests.support.patience import PATIENCE_S


def config_show(environ: Mapping[str, str], *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.config.command", "show", *more],
        env={**os.environ, **base_environment(), **environ},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.mark.parametrize(
    ("form", "url", "shown"),
    [
        ((), "redis://shop:tops@kret@127.0.0.1:6379/0", "redis://shop:********@127.0.0.1:6379/0"),
        (
            ("--json",),
            "unix:///run/r.sock?db=1&password=tops@kret",
            "unix:///run/r.sock?db=1&password=********",
        ),
        ((), "tops:tops@kret@127.0.0.1", "tops:********@127.0.0.1"),  # refused, as it is not a URL
    ],
)
def test_no_password_is_shown(form: tuple[str, ...], url: str, shown: str) -> None:
    result = config_show({"SLUICE_REDIS__URL": url}, *form)
    text = result.stdout + result.stderr
    assert shown in text
    assert "kret" not in text
    assert result.returncode == (0 if "://" in url else 2)
