"""`demo` as users run it: agreement, and no leftovers when it is interrupted."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Sequence
from typing import Any

import pytest

from cli.stack import state
from tests.support.line_shell import WAIT_S, Shell, wait_for

RESULT = {
    *("published", "refused", "suppressed", "delivered", "bounced", "expired"),
    *("waiting", "in_flight", "returned", "complained", "forwarded"),
    *("billed", "sink", "agree", "seconds"),
}


def demo_state(process: subprocess.Popen[str]) -> state.State | None:
    return state.running(f"demo-{process.pid}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("phase", ["starting", "ready"])
def test_a_demo_that_is_interrupted_leaves_no_process(
    shell: Shell, number: signal.Signals, phase: str
) -> None:
    with shell.start("local.demo", "--messages", "2000", "--json") as demo:

        def is_there() -> bool:
            assert demo.poll() is None
            found = demo_state(demo)
            return found is not None and found.phase == phase and len(shell.left()) > 1

        wait_for(is_there, f"the demo {phase}")
        demo.send_signal(number)
        out, err = demo.communicate(timeout=WAIT_S)
    assert demo.returncode == 130, (out, err)
    assert json.loads(out).keys() == {"error"}
    assert "all its processes are stopped" in err
    shell.assert_nothing_left()


def run_demos(shell: Shell, commands: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    started = [shell.start("local.demo", *arguments) for arguments in commands]
    results = []
    for demo in started:
        with demo:
            out, err = demo.communicate(timeout=WAIT_S)
        assert demo.returncode == 0, err
        results.append(json.loads(out))
    return results


def test_two_demos_side_by_side_each_end_in_agreement(shell: Shell) -> None:
    for result in run_demos(shell, [("--messages", "300", "--json")] * 2):
        assert result.keys() == RESULT
        assert result["agree"]
        assert result["published"] == 300
        assert result["waiting"] == result["in_flight"] == 0
        ends = ("refused", "suppressed", "delivered", "bounced", "expired")
        assert sum(result[word] for word in ends) == 300
        assert result["sink"] == {"accepted": result["delivered"], "duplicates": 0}
        assert all(result[word] for word in ("refused", "suppressed", "bounced"))
        assert result["returned"] or result["complained"]
        assert result["forwarded"] >= result["returned"] + result["complained"]
        assert {row["sub_client"] for row in result["billed"]} == {"", "shop-berlin", "shop-paris"}
    shell.assert_nothing_left()
