"""Values that cannot work are refused in one sentence that names the value."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.chart.rendering import (
    HELMS,
    REQUIRED,
    ChartRefused,
    merged,
    render,
    run_helm,
)

DOOR: dict[str, Any] = {"enabled": True, "hostName": "in.example.com", "certificateSecret": "tls"}
KEDA = {"mode": "keda", "min": 2, "max": 6}

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"image": {"repository": ""}}, "image.repository: required"),
    ({"kafka": {"bootstrap": ""}}, "kafka.bootstrap: required"),
    ({"redis": {"host": ""}}, "redis.host: required by billing"),
    ({"sending": {"ehloName": ""}}, "sending.ehloName: required by deliver"),
    (
        {"kafka": {"replication": 1}},
        "kafka.replication: 1, expected 3 or more copies of each topic: with fewer, one broker that"
        " fails loses accepted mail or stops the pipeline; on a cluster with fewer than three"
        " brokers, where this is accepted, also set kafka.allowLowReplication: true and"
        " kafka.minInSyncReplicas: 1",
    ),
    (
        {"kafka": {"minInSyncReplicas": 1}},
        "kafka.minInSyncReplicas: 1, expected 2 or more: mail that only one broker has when it is"
        " acknowledged is lost with that broker; on a cluster with fewer than three brokers, where"
        " this is accepted, also set kafka.allowLowReplication: true",
    ),
    (
        {"kafka": {"replication": 1, "allowLowReplication": True}},
        "kafka.minInSyncReplicas: 2 is more than kafka.replication (1)",
    ),
    ({"kafka": {"sasl": {"mechanism": "PLAIN"}}}, "kafka.sasl.secret: required"),
    ({"kafka": {"sasl": {"secret": "x"}}}, "kafka.sasl.mechanism: required"),
    (
        {
            "kafka": {
                "sasl": {"mechanism": "OAUTHBEARER", "secret": "x", "username": "y"},
                "oauth": {"tokenUrl": "https://x/", "clientId": "c"},
            }
        },
        "kafka.sasl.username: not for OAUTHBEARER",
    ),
    (
        {"kafka": {"sasl": {"mechanism": "OAUTHBEARER", "secret": "x"}}},
        "kafka.oauth: tokenUrl and clientId are required",
    ),
    ({"kafka": {"tls": {"caSecret": "x"}}}, "kafka.tls.enabled: must be true"),
    ({"topics": {"manage": "strimzi"}}, "topics.strimzi.cluster: required"),
    ({"defaults": {"enabled": False}}, "components: all are disabled; enable at least one"),
    ({"frontDoor": {"enabled": True}}, "frontDoor.hostName: required"),
    ({"bounceDoor": {"enabled": True}}, "bounceDoor.hostName: required"),
    ({"frontDoor": {**DOOR, "certificateSecret": ""}}, "frontDoor.certificateSecret: required"),
    (
        {"frontDoor": {**DOOR, "certManager": {"enabled": True}}},
        "frontDoor.certManager.issuer: required",
    ),
    (
        {"frontDoor": {**DOOR, "service": {"externalTrafficPolicy": "Cluster"}}},
        "frontDoor.service.externalTrafficPolicy: Cluster hides the addresses",
    ),
    (
        {"bounceDoor": {**DOOR, "service": {"externalTrafficPolicy": "Cluster"}}},
        "bounceDoor.service.externalTrafficPolicy: Cluster hides the addresses of the peers, which"
        " the limits and logins use; write Local, or let the balancers send PROXY protocol headers"
        " and list in bounceDoor.proxies the nodes",
    ),
    (
        {"frontDoor": {**DOOR, "ports": {"smtp": 587}}},
        "frontDoor.ports: two ports are the same; give each a different port, or 0 to leave it out",
    ),
    (
        {"frontDoor": {**DOOR, "proxies": ["192.0.2.1", "0.0.0.0/0"]}},
        "frontDoor.proxies: 0.0.0.0/0 is too wide, expected /8 or longer",
    ),
    (
        {"frontDoor": {**DOOR, "proxies": ["0.0.0.0/1", "128.0.0.0/1"]}},
        "frontDoor.proxies: 0.0.0.0/1 is too wide, expected /8 or longer",
    ),
    (
        {"bounceDoor": {**DOOR, "proxies": ["::/0"]}},
        "bounceDoor.proxies: ::/0 is too wide, expected /16 or longer",
    ),
    (
        {"bounceDoor": {**DOOR, "proxies": ["2000::/3"]}},
        "bounceDoor.proxies: 2000::/3 is too wide, expected /16 or longer: all its addresses may"
        " claim to be any peer in a PROXY protocol header",
    ),
    (
        {
            "kafka": {"sasl": {"mechanism": "PLAIN", "secret": "s"}},
            "operator": {
                "enabled": True,
                "secretMounts": [{"name": "kafka-sasl", "secret": "x"}],
            },
        },
        "operator.secretMounts: the name kafka-sasl is used twice, or by the chart itself",
    ),
    (
        {"operator": {"enabled": True, "extraVolumes": [{"name": "tmp", "emptyDir": {}}]}},
        "operator.extraVolumes: the name tmp is used twice, or by the chart itself",
    ),
    (
        {"frontDoor": {**DOOR, "service": {"ipFamilyPolicy": "PreferDualStack"}}},
        'frontDoor.service.ipFamilyPolicy: PreferDualStack needs bindAddress "::"',
    ),
    (
        {
            "kafka": {"sasl": {"mechanism": "PLAIN", "secret": "s"}},
            "defaults": {"secretMounts": [{"name": "kafka-sasl", "secret": "x"}]},
        },
        "components.billing.secretMounts: the name kafka-sasl is used twice, or by the chart",
    ),
    (
        {"defaults": {"secretMounts": [{"name": "x", "secret": each} for each in "ab"]}},
        "components.billing.secretMounts: the name x is used twice",
    ),
    (
        {"components": {"deliver": {"extraVolumes": [{"name": "tmp", "emptyDir": {}}]}}},
        "components.deliver.extraVolumes: the name tmp is used twice, or by the chart itself",
    ),
    (
        {"frontDoor": {**DOOR, "ports": {"smtp": 0, "submission": 0, "smtps": 0}}},
        "frontDoor.ports: at least one must not be 0",
    ),
    (
        {"frontDoor": DOOR, "components": {"ingest": {"enabled": False}}},
        "frontDoor.enabled: needs components.ingest or components.front",
    ),
    (
        {"components": {"bounce": {"enabled": True}}},
        "components.bounce.enabled: the component serves only the door; enable bounceDoor",
    ),
    (
        # Without its door, ingest is bound by the intakes again.
        {"frontDoor": DOOR, "components": {"front": {"enabled": True}, "ingest": {"replicas": 4}}},
        "components.ingest.replicas: 4 processes share 3 partitions",
    ),
    (
        {"components": {"deliver": {"replicas": 13}}},
        "components.deliver.replicas: 13 processes share 12 partitions",
    ),
    (
        {"components": {"ingest": {"replicas": 4}}},
        "components.ingest.replicas: 4 processes share 3 partitions, so some would never get work;"
        " lower it, or raise kafka.intakePartitions",
    ),
    (
        {"kafka": {"partitions": 5}, "components": {"validate": {"autoscaling": KEDA}}},
        "components.validate.autoscaling.max: 6 processes share 5 partitions",
    ),
    (
        {"components": {"validate": {"autoscaling": {**KEDA, "min": 7}}}},
        "components.validate.autoscaling: min 7 is more than max 6",
    ),
    (
        {"defaults": {"terminationGracePeriodSeconds": 50}},
        "components.billing.terminationGracePeriodSeconds: 50 s end before preStopSeconds and"
        " runtime.drain_timeout_s (together 50 s)",
    ),
    (
        {
            "components": {
                "deliver": {
                    "terminationGracePeriodSeconds": 125,
                    "settings": {"runtime": {"drain_timeout_s": 120}},
                }
            }
        },
        "components.deliver.terminationGracePeriodSeconds: 125 s end before",
    ),
]

REFUSED += [
    (
        {
            "frontDoor": DOOR,
            "bounceDoor": DOOR,
            "components": {"ingest": {"resources": {"limits": {"memory": "767Mi"}}}},
        },
        "components.ingest.resources.limits.memory: 767Mi, expected 768Mi or more: its settings let"
        " it hold 512 MiB of mail, and it would be killed; raise it, or lower"
        " ingest.smtp_max_held_bytes and ingest.bounce_max_held_bytes",
    ),
    (
        {
            "settings": {"deliver": {"max_in_flight_bytes": 900_000_000}},
            "components": {"deliver": {"resources": {"limits": {"memory": "1.05G"}}}},
        },
        "components.deliver.resources.limits.memory: 1.05G, expected 1115Mi or more",
    ),
    (
        {
            **{
                name: {**DOOR, "certManager": {"enabled": True, "issuer": "ca"}}
                for name in ("frontDoor", "bounceDoor")
            }
        },
        "bounceDoor.certificateSecret: tls is also written for frontDoor; name another secret",
    ),
    (
        {"components": {"validate": {"settings": {"kafka": {"topic_configs": {"mail.*": {}}}}}}},
        "components.validate.settings.kafka.topic_configs: all components and the topics have to"
        " have the same; move it to settings.kafka",
    ),
    (
        {"defaults": {"settings": {"kafka": {"topic_configs": {"mail.*": {}}}}}},
        "defaults.settings.kafka.topic_configs: the topics have to have the same",
    ),
]


@pytest.mark.parametrize(("changes", "sentence"), REFUSED, ids=[each[1] for each in REFUSED])
def test_what_cannot_work_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ChartRefused) as caught:
        render(changes)
    assert sentence in str(caught.value)


def test_a_name_too_long_for_an_instance_is_refused() -> None:
    values = merged(REQUIRED, {"instancePrefix": "p" * 16, "fullnameOverride": "n" * 40})
    with pytest.raises(ChartRefused, match=r"instancePrefix: 1[34][0-9] characters"):
        run_helm("template", HELMS["helm-4"], "-n", "s" * 63, values=values)


ALLOWED: list[dict[str, Any]] = [
    {"image": {"repository": "registry.example.com:5000/mail/sluice"}},
    {"image": {"repository": "sluice"}},
    {"redis": {"host": "2001:db8::1"}},
    {"redis": {"host": "192.0.2.1"}},
    {"kafka": {"oauth": {"tokenUrl": "http://localhost:8080/token"}}},
    {"frontDoor": {**DOOR, "service": {"sourceRanges": ["192.0.2.1/32", "2001:db8::/32"]}}},
    {"defaults": {"resources": {"requests": {"cpu": 0.5, "memory": "1.5Gi"}}}},
    {"frontDoor": {**DOOR, "ports": {"smtp": 0, "smtps": 0}}},
    # Processes that serve SMTP need no partition.
    {"frontDoor": DOOR, "components": {"ingest": {"replicas": 20}}},
    # The policy does not matter inside the cluster, or with balancers that name the client.
    {"frontDoor": {**DOOR, "service": {"type": "ClusterIP", "externalTrafficPolicy": "Cluster"}}},
    {
        "frontDoor": {
            **DOOR,
            "proxies": ["10.0.0.0/8"],
            "service": {"externalTrafficPolicy": "Cluster"},
        }
    },
    {
        "frontDoor": DOOR,
        "components": {
            "front": {"enabled": True, "replicas": 20},
            "platform": {"enabled": True, "replicas": 20},
            "ingest": {"enabled": False},
        },
    },
    {"kafka": {"replication": 1, "minInSyncReplicas": 1, "allowLowReplication": True}},
    {"sending": {"ehloName": ""}, "components": {"deliver": {"enabled": False}}},
    {"defaults": {"terminationGracePeriodSeconds": 51}},
    {"global": {"anything": 1}},
    {
        "frontDoor": DOOR,
        "bounceDoor": DOOR,
        "components": {"ingest": {"resources": {"limits": {"memory": "768Mi"}}}},
    },
    # A door that runs apart is not held against ingest, nor one that is closed.
    {
        "frontDoor": DOOR,
        "components": {
            "ingest": {"resources": {"limits": {"memory": "64Mi"}}},
            "front": {"enabled": True, "resources": {"limits": {"memory": 536870912}}},
        },
    },
    {"components": {"deliver": {"resources": {"limits": {"memory": None}}}}},
    {"commonLabels": {"example.com/team": "mail"}, "defaults": {"podLabels": {"a": ""}}},
    {"networkPolicy": {"kafkaPeers": [{"podSelector": {}, "namespaceSelector": {}}]}},
    # The condition of a chart that depends on this one.
    {"enabled": True},
    # One certificate for both doors, which is not written by two.
    {"frontDoor": DOOR, "bounceDoor": DOOR},
]


@pytest.mark.parametrize("changes", ALLOWED, ids=range(len(ALLOWED)))
def test_what_can_work_is_rendered(changes: dict[str, Any]) -> None:
    assert render(changes)
