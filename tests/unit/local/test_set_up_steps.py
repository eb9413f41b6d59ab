"""The messages about the steps of a set-up: one when a step begins, one when it has ended."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from launcher import uv
from local.parts import packages

Step = Callable[[str], AbstractContextManager[None]]
STEPS = [pytest.param(packages.step, id="local"), pytest.param(uv.step, id="launcher")]


@pytest.mark.parametrize("step", STEPS)
def test_a_step_is_said_before_it_begins_and_again_with_its_seconds(
    step: Step, capsys: pytest.CaptureFixture[str]
) -> None:
    with step("downloading"):
        assert capsys.readouterr() == ("", "sluice: downloading\n")
    out, err = capsys.readouterr()
    assert not out
    assert re.fullmatch(r"sluice: downloading: done in \d+ s\n", err)


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails_is_not_said_to_be_done(
    step: Step, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(OSError, match="full"), step("downloading"):
        raise OSError("full")
    assert capsys.readouterr().err == "sluice: downloading\n"
