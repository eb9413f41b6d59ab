"""`sluice topics` plans and creates the topics of the lanes in the setting `validate.lanes`."""

from __future__ import annotations

import json
import time
from typing import Any

from click.testing import CliRunner

from cli.answer import Exit
from cli.topics.command import main
from shared.topics.names import outbound
from tests.support.patience import PATIENCE_S


def run(kafka_bootstrap: str, verb: str, lanes: str) -> tuple[int, dict[str, Any]]:
    done = CliRunner().invoke(
        main,
        [verb, "--kafka", kafka_bootstrap, "--json"],
        env={"SLUICE_VALIDATE__LANES": lanes},
    )
    return done.exit_code, json.loads(done.stdout)


def statuses(answer: dict[str, Any]) -> dict[str, str]:
    return {row["topic"]: row["status"] for row in answer["topics"]}


def test_apply_creates_the_topics_of_all_lanes_in_the_settings(kafka_bootstrap: str) -> None:
    stem = f"lane-{time.time_ns()}"
    lanes = json.dumps({f"{stem}-a": ["a.example"], f"{stem}-b": []})
    topics = {outbound(f"{stem}-a"), outbound(f"{stem}-b")}
    ends = time.monotonic() + PATIENCE_S
    code, plan = run(kafka_bootstrap, "plan", lanes)
    while code == Exit.PART_UNAVAILABLE and time.monotonic() < ends:  # a new broker may be slow
        code, plan = run(kafka_bootstrap, "plan", lanes)
    assert code == Exit.CHECK_FAILED, plan
    assert {topic: statuses(plan)[topic] for topic in topics} == dict.fromkeys(topics, "missing")
    _, applied = run(kafka_bootstrap, "apply", lanes)
    assert {topic: statuses(applied)[topic] for topic in topics} == dict.fromkeys(topics, "created")
    assert outbound("default") in statuses(applied)
    _, again = run(kafka_bootstrap, "plan", lanes)
    assert {topic: statuses(again)[topic] for topic in topics} == dict.fromkeys(topics, "ok")


def test_lanes_that_validate_would_refuse_end_the_command(kafka_bootstrap: str) -> None:
    code, answer = run(kafka_bootstrap, "apply", '{"Not a lane": []}')
    assert code == Exit.USAGE_ERROR
    assert "validate.lanes" in answer["error"]
