"""Which Redis a command reads, and that a pipeline that is not running is said in one sentence."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

import cli.options
from cli.stack import state
from cli.stack.state import Endpoints
from cli.suppressions.topic import find_redis
from cli.terminal import progress_bar

RUNNING = state.State(
    "main",
    1,
    "",
    "ready",
    endpoints=Endpoints(
        kafka="127.0.0.1:9", redis="redis://127.0.0.1:7/0", billing=None, sink=None
    ),
)
OWN = {"SLUICE_REDIS__URL": "redis://own.example:1234/0"}


@pytest.fixture
def pipelines(monkeypatch: pytest.MonkeyPatch) -> dict[str, state.State]:
    """The pipelines that run; nothing else answers."""
    found: dict[str, state.State] = {}
    monkeypatch.setattr(state, "running", found.get)
    monkeypatch.setattr(cli.options, "answers", lambda _address: False)
    for name in ("SLUICE_CONFIG", "SLUICE_REDIS__URL", "SLUICE_KAFKA__BOOTSTRAP"):
        monkeypatch.delenv(name, raising=False)
    return found


@pytest.mark.parametrize(
    ("line", "environ", "url"),
    [
        ("", {}, "redis://127.0.0.1:7/0"),
        ("main", {}, "redis://127.0.0.1:7/0"),
        ("", OWN, "redis://own.example:1234/0"),
        ("main", OWN, "redis://127.0.0.1:7/0"),  # what is named is meant
    ],
)
def test_the_redis_is_that_of_the_named_pipeline_the_settings_or_main(
    line: str,
    environ: dict[str, str],
    url: str,
    pipelines: dict[str, state.State],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipelines["main"] = RUNNING
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert find_redis(line).url == url


@pytest.mark.parametrize("environ", [{}, OWN, {"SLUICE_KAFKA__BOOTSTRAP": "k.example:9092"}])
def test_a_named_pipeline_that_is_not_running_is_never_replaced_by_another_redis(
    environ: dict[str, str], pipelines: dict[str, state.State], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipelines["main"] = replace(RUNNING)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(state.NotRunning, match="'other' is not running; start it with"):
        find_redis("other")


def test_without_a_pipeline_and_without_settings_there_is_none(
    pipelines: dict[str, state.State], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(state.NotRunning, match="'main' is not running"):
        find_redis("")
    monkeypatch.setenv("SLUICE_KAFKA__BOOTSTRAP", "k.example:9092")
    assert find_redis("").url == "redis://127.0.0.1:6379/0", "the servers are not a pipeline's"


def test_a_progress_bar_writes_nothing_where_there_is_no_terminal(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with progress_bar() as bar:
        bar.update(bar.add_task("reading", total=3), completed=2)
    assert capfd.readouterr() == ("", "")
