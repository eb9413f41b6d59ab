"""Values that do not exist, or that Kubernetes would not take, are refused by the schema."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.chart.rendering import HELMS, REQUIRED, ChartRefused, merged, render, run_helm

# Refused by the schema: Helm names the place.
UNKNOWN: list[tuple[dict[str, Any], str]] = [
    ({"replicas": 2}, "replicas"),
    ({"components": {"delivery": {}}}, "delivery"),
    ({"components": {"deliver": {"replica": 2}}}, "replica"),
    ({"kafka": {"password": "x"}}, "password"),
    ({"settings": {"deliver": {"max_conections": 2}}}, "max_conections"),
    ({"settings": {"deliver": {"max_connections": 0}}}, "max_connections"),
    ({"settings": {"deliver": {"max_connections": "20"}}}, "max_connections"),
    ({"settings": {"kafka": {"bootstrap": "k:9092"}}}, "bootstrap"),
    ({"settings": {"telemetry": {"http_port": 1}}}, "http_port"),
    ({"settings": {"runtime": {"log_level": "loud"}}}, "log_level"),
    ({"kafka": {"bootstrap": "kafka"}}, "bootstrap"),
    ({"kafka": {"sasl": {"mechanism": "GSSAPI"}}}, "mechanism"),
    ({"lanes": {"Gmail": ["gmail.com"]}}, "Gmail"),
    # Values for a chart that merged its lanes with the shipped ones.
    ({"lanes": {"gmx": ["gmx.de"], "yahoo": None}}, "lanes/yahoo"),
    ({"bindAddress": "eth0"}, "bindAddress"),
    ({"kafka": {"tls": None}}, "tls"),
    ({"redis": {"host": "redis.example.com:6379"}}, "host"),
    ({"networkPolicy": {"metricsPeers": [{}]}}, "metricsPeers"),
    (
        {"networkPolicy": {"metricsPeers": [{"namespaceSelector": {"matchLabel": {}}}]}},
        "matchLabel",
    ),
    ({"api": {"allowFrom": [{"ipBlock": {}}]}}, "cidr"),
    ({"frontDoor": {"hostName": "192.0.2.1"}}, "hostName"),
    ({"kafka": {"bootstrap": "k1:9092,k2:70000"}}, "bootstrap"),
    ({"kafka": {"bootstrap": "k1:0"}}, "bootstrap"),
    ({"commonLabels": {"bad key!": "x"}}, "bad key!"),
    ({"commonLabels": {"team": "has space"}}, "team"),
    ({"defaults": {"podLabels": {"a/b/c": "x"}}}, "a/b/c"),
    ({"defaults": {"nodeSelector": {"disk": "has space"}}}, "nodeSelector"),
    ({"components": {"deliver": {"podAnnotations": {"bad key!": "x"}}}}, "bad key!"),
    ({"frontDoor": {"service": {"annotations": {"bad key!": "x"}}}}, "bad key!"),
    ({"defaults": {"tolerations": [{"key": "mail", "operator": "exists"}]}}, "operator"),
    ({"networkPolicy": {"kafkaPeers": [{"ipBlock": {"cidr": "10.0.0.1"}}]}}, "cidr"),
    (
        {"networkPolicy": {"kafkaPeers": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}},
        "kafkaPeers",
    ),
    ({"api": {"ingress": {"hostName": "192.0.2.1"}}}, "hostName"),
    ({"podSecurity": {"runAsUser": 0}}, "runAsUser"),
    ({"kafka": {"oauth": {"tokenUrl": "http://login.example.com/token"}}}, "tokenUrl"),
    ({"image": {"repository": "registry.example.com/sluice:1.0"}}, "repository"),
    ({"image": {"repository": "registry.example.com/sluice@sha256"}}, "repository"),
    ({"frontDoor": {"service": {"sourceRanges": ["192.0.2.1"]}}}, "sourceRanges"),
    ({"frontDoor": {"service": {"sourceRanges": ["300.2.3.4/9"]}}}, "sourceRanges"),
    ({"bounceDoor": {"service": {"sourceRanges": ["2001:db8::/129"]}}}, "sourceRanges"),
    ({"defaults": {"resources": {"requests": {"memory": "256mb"}}}}, "memory"),
    ({"kafka": {"sasl": {"mechanism": "PLAIN", "secret": "kafka-{service}"}}}, "secret"),
    ({"defaults": {"probes": None}}, "probes"),
    ({"commonLabels": {"app.kubernetes.io/name": "x"}}, "app.kubernetes.io/name"),
    (
        {"defaults": {"podLabels": {"app.kubernetes.io/component": "x"}}},
        "app.kubernetes.io/component",
    ),
    ({"image": {"digest": "sha256:12"}}, "digest"),
    ({"settings": {"ingest": {"reads_intakes": False}}}, "reads_intakes"),
    ({"defaults": {"extraEnv": [{"name": "SLUICE_KAFKA__BOOTSTRAP"}]}}, "extraEnv/0/name"),
    ({"imagePullSecrets": [{"secret": "x"}]}, "imagePullSecrets"),
    ({"components": {"deliver": {"autoscaling": {"mode": "vpa"}}}}, "mode"),
]


@pytest.mark.parametrize(("changes", "word"), UNKNOWN, ids=[each[1] for each in UNKNOWN])
def test_what_does_not_exist_is_refused(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(ChartRefused) as caught:
        render(changes)
    assert "values don't meet the specifications of the schema" in str(caught.value)
    assert word in str(caught.value)


def test_both_versions_of_helm_read_the_schema() -> None:
    for helm in HELMS.values():
        with pytest.raises(ChartRefused, match="max_conections"):
            run_helm(
                "template",
                helm,
                values=merged(REQUIRED, {"settings": {"deliver": {"max_conections": 2}}}),
            )
