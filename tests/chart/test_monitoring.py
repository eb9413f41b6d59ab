"""Alerts and dashboards use metrics that the services export."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from local.parts.packages import program
from shared.topics.records import EventType
from tests.support.chart.rendering import render_set
from tests.support.chart.resources import of_kind
from tools.chart import CHART
from tools.references import METRICS

ALERTS: Final = CHART / "files" / "alerts.yaml"
CASES: Final = Path(__file__).with_name("alerts.yaml")
DASHBOARDS: Final = sorted((CHART / "files" / "dashboards").glob("*.json"))
# Labels that Prometheus and the monitors add.
ADDED_LABELS: Final = {"job", "component", "pod", "namespace"}
_METRIC: Final = re.compile(r"\bsluice_[a-z_]+")
_SELECTOR: Final = re.compile(r"\b(sluice_[a-z_]+|up)\{([^}]*)\}")
_EVENT: Final = re.compile(r'\bevent="([^"]*)"')
_LABEL: Final = re.compile(r"([a-z_]+)\s*(?:=~|!~|!=|=)")


def exported() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {"up": set()}
    for each in METRICS:
        for metric in each.counters:
            found[f"{metric.name}_total"] = set(metric.labels)
        for metric in each.gauges:
            found[metric.name] = set(metric.labels)
    return found


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> list[tuple[str, str]]:
    found = [(rule["alert"], rule["expr"]) for rule in rules()]
    for path in DASHBOARDS:
        dashboard = json.loads(path.read_text())
        found += [
            (f"{path.stem}: {panel['title']}", target["expr"])
            for panel in dashboard["panels"]
            for target in panel["targets"]
        ]
    return found


@pytest.mark.parametrize(("where", "query"), queries())
def test_a_query_uses_metrics_and_labels_that_are_exported(where: str, query: str) -> None:
    known = exported()
    for name in _METRIC.findall(query):
        assert name in known, where
    for name, labels in _SELECTOR.findall(query):
        assert set(_LABEL.findall(labels)) <= known[name] | ADDED_LABELS, where


def test_a_query_selects_only_events_that_there_are() -> None:
    selected = {value for _, query in queries() for value in _EVENT.findall(query)}
    assert selected
    assert selected <= {str(each) for each in EventType}


def promtool(*arguments: str) -> None:
    tool = program("promtool", "prometheus", "promtool tests the alerts")
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_alerts_fire_when_they_should(tmp_path: Path) -> None:
    # promtool looks for the rules beside the cases.
    (tmp_path / "rules.yaml").write_text(ALERTS.read_text())
    cases = tmp_path / "cases.yaml"
    cases.write_text(CASES.read_text())
    promtool("test", "rules", str(cases))


def test_an_installation_that_is_well_hides_none_that_is_not(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(ALERTS.read_text())
    document = yaml.safe_load(CASES.read_text())
    well = {
        test["alert_rule_test"][0]["alertname"]: test["input_series"]
        for test in document["tests"]
        if not any(case.get("exp_alerts") for case in test["alert_rule_test"])
    }
    fires = [each for each in document["tests"] if each["alert_rule_test"][0].get("exp_alerts")]
    assert len(fires) == len(rules())
    for test in fires:
        beside = well[test["alert_rule_test"][0]["alertname"]]
        test["input_series"] += [
            {**each, "series": each["series"].replace('"mail"', '"other"')} for each in beside
        ]
    cases = tmp_path / "cases.yaml"
    cases.write_text(yaml.safe_dump({**document, "tests": fires}))
    promtool("test", "rules", str(cases))


def test_every_query_is_valid(tmp_path: Path) -> None:
    # Grafana replaces these before it asks.
    found = [query.replace("$__rate_interval", "5m") for _, query in queries()]
    recorded = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(found)]
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": recorded}]}))
    promtool("check", "rules", str(path))


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    tests = yaml.safe_load(CASES.read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    fires = {case["alertname"] for case in cases if case.get("exp_alerts")}
    silent = {case["alertname"] for case in cases if not case.get("exp_alerts")}
    names = {rule["alert"] for rule in rules()}
    assert fires == names
    assert silent == names


def test_every_alert_says_how_bad_it_is_and_what_happened() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"].endswith(".")


def test_the_rule_resource_has_the_alerts() -> None:
    (found,) = of_kind(render_set("production"), "PrometheusRule")
    assert found["spec"] == yaml.safe_load(ALERTS.read_text())


def test_the_dashboards_are_in_config_maps_for_grafana() -> None:
    found = of_kind(render_set("production"), "ConfigMap")
    assert len(found) == len(DASHBOARDS)
    uids = set()
    for each in found:
        assert each["metadata"]["labels"]["grafana_dashboard"] == "1"
        ((name, text),) = each["data"].items()
        dashboard = json.loads(text)
        assert name == f"{dashboard['uid'].removeprefix('sluice-')}.json"
        uids.add(dashboard["uid"])
    assert len(uids) == len(found)
