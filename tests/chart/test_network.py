"""The network policies of each component, and the doors, which keep the addresses of peers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.chart.rendering import VALUE_SETS, Resource, render, render_set
from tests.support.chart.resources import by_component, component_of, environment, of_kind

DOOR = {"enabled": True, "hostName": "in.example.com", "certificateSecret": "tls"}


def ports(rules: list[dict[str, Any]]) -> set[int]:
    return {each["port"] for rule in rules for each in rule["ports"]}


def selector_of(each: Resource) -> dict[str, str]:
    spec = each["spec"]
    found: dict[str, str] = spec.get("podSelector", {}).get("matchLabels") or spec["selector"]
    return found


def policies(resources: list[Resource]) -> dict[str, list[Resource]]:
    """The policies that apply to the pods of each component, by their labels."""
    found = of_kind(resources, "NetworkPolicy")
    return {
        component: [each for each in found if selector_of(each).items() <= labels.items()]
        for component, labels in pod_labels(resources).items()
    }


def pod_labels(resources: list[Resource]) -> dict[str, dict[str, str]]:
    """The labels of the pods of each component."""
    templates = [
        each["spec"].get("template", each)
        for each in of_kind(resources, "StatefulSet", "Deployment", "Job", "Pod")
    ]
    return {component_of(each): each["metadata"]["labels"] for each in templates}


def policy(resources: list[Resource], component: str) -> dict[str, Any]:
    """The rules of all policies that apply to a component."""
    found = [each["spec"] for each in policies(resources)[component]]
    assert {kind for spec in found for kind in spec["policyTypes"]} == {"Ingress", "Egress"}
    return {
        way: [rule for spec in found for rule in spec.get(way, [])] for way in ("ingress", "egress")
    }


def to_the_internet(resources: list[Resource]) -> dict[str, Any]:
    egress = policy(resources, "deliver")["egress"]
    found: dict[str, Any] = next(each for each in egress if ports([each]) == {25, 443})
    return found


@pytest.mark.parametrize(
    ("component", "incoming", "outgoing"),
    [
        ("ingest", {9100}, {53, 9093, 6380}),
        ("front", {9100, 2525, 2587, 2465}, {53, 9093, 6380}),
        # No Redis.
        ("bounce", {9100, 2526}, {53, 9093}),
        ("responses", {9100}, {53, 9093, 6380}),
        ("validate", {9100}, {53, 9093, 6380}),
        ("deliver", {9100}, {53, 9093, 6380, 25, 443}),
        ("billing", {9100, 8080}, {53, 9093, 6380}),
        ("topics", set(), {53, 9093}),
        ("operator", set(), {53, 9093, 6380}),
        ("test", set(), {53, 9100}),
    ],
)
def test_only_what_a_component_needs_is_open(
    component: str, incoming: set[int], outgoing: set[int]
) -> None:
    spec = policy(render_set("production"), component)
    assert ports(spec["ingress"]) == incoming
    assert ports(spec["egress"]) == outgoing


def test_the_api_for_platforms_is_open_to_its_peers_only() -> None:
    peers = [{"namespaceSelector": {"matchLabels": {"name": "platforms"}}}]
    values = {"components": {"platform": {"enabled": True}}, "platformApi": {"allowFrom": peers}}
    resources = render(values)
    spec = policy(resources, "platform")
    (api,) = [each for each in spec["ingress"] if ports([each]) == {8026}]
    assert api["from"] == peers
    (service,) = [
        each
        for each in of_kind(resources, "Service")
        if each["metadata"]["name"].endswith("-platform-api")
    ]
    assert service["spec"]["selector"]["app.kubernetes.io/component"] == "platform"
    assert "platform" not in policies(render({}))


def test_nobody_reaches_an_http_api_that_names_no_peer() -> None:
    resources = render({"components": {"platform": {"enabled": True}}})
    for component in ("billing", "platform"):
        assert ports(policy(resources, component)["ingress"]) == {9100}


def test_a_door_has_addresses_of_both_families_if_asked_for() -> None:
    values = {**DOOR, "service": {"ipFamilyPolicy": "RequireDualStack"}}
    resources = render({"bindAddress": "::", "frontDoor": values, "bounceDoor": values})
    found = {
        each["metadata"]["name"]: each["spec"].get("ipFamilyPolicy")
        for each in of_kind(resources, "Service")
    }
    assert found["mail-sluice-front-door"] == found["mail-sluice-bounce-door"] == "RequireDualStack"
    assert "ipFamilyPolicy" not in str(render({"frontDoor": DOOR}))


@pytest.mark.parametrize("name", VALUE_SETS)
def test_every_pod_has_a_policy(name: str) -> None:
    for component, found in policies(render_set(name)).items():
        kinds = [kind for each in found for kind in each["spec"]["policyTypes"]]
        assert kinds.count("Egress") == 1, component


@pytest.mark.parametrize("name", VALUE_SETS)
def test_only_doors_take_connections_from_anywhere(name: str) -> None:
    for component, found in policies(render_set(name)).items():
        for each in found:
            for rule in each["spec"].get("ingress", []):
                if not rule.get("from"):
                    assert component in ("ingest", "front", "bounce")
                    assert ports([rule]) <= {2525, 2587, 2465, 2526}


def test_deliver_reaches_no_private_address_unless_it_may() -> None:
    rule = to_the_internet(render())
    assert "10.0.0.0/8" in rule["to"][0]["ipBlock"]["except"]
    allowed = render({"settings": {"deliver": {"allow_private_addresses": True}}})
    rule = to_the_internet(allowed)
    assert rule["to"] == [{"ipBlock": {"cidr": "0.0.0.0/0"}}, {"ipBlock": {"cidr": "::/0"}}]


def test_the_ports_of_routes_are_open() -> None:
    routes = {"*": "relay.example.com:587", "example.com": "[2001:db8::1]:2525"}
    spec = policy(render({"settings": {"deliver": {"routes": routes}}}), "deliver")
    assert {587, 2525} <= ports(spec["egress"])


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("https://login.example.com/token", 443),
        ("http://localhost/token", 80),
        ("https://login.example.com:8443/token", 8443),
    ],
)
def test_the_token_endpoint_is_open_with_oauth(url: str, port: int) -> None:
    kafka = {
        "sasl": {"mechanism": "OAUTHBEARER", "secret": "s"},
        "oauth": {"tokenUrl": url, "clientId": "c"},
    }
    resources = render({"kafka": kafka})
    for component in ("ingest", "validate", "deliver", "billing", "topics"):
        assert port in ports(policy(resources, component)["egress"])


@pytest.mark.parametrize(
    ("settings", "opens"),
    [
        ({"store": "postgresql", "postgresql_url": "postgresql://sluice@db:6432/sluice"}, {6432}),
        ({"store": "postgresql", "postgresql_url": "postgresql://sluice@db/sluice"}, {5432}),
        (
            {"store": "postgresql", "postgresql_url": "postgresql://sluice@a:6432,b,c:6432/sluice"},
            {5432, 6432},
        ),
        ({"postgresql_url": "postgresql://sluice@db/sluice"}, set()),
    ],
)
def test_the_database_of_billing_is_open_if_it_is_used(
    settings: dict[str, str], opens: set[int]
) -> None:
    resources = render({"settings": {"billing": settings}})
    opened = ports(policy(resources, "billing")["egress"])
    assert opened == {53, 9092, 9093, 6379} | opens
    assert not {5432, 6432} & ports(policy(resources, "validate")["egress"])


def test_every_broker_port_is_open() -> None:
    resources = render_set("everything")
    assert {9094, 9095, 9096} <= ports(policy(resources, "billing")["egress"])


def test_the_doors_keep_the_addresses_of_their_peers() -> None:
    services = {each["metadata"]["name"]: each["spec"] for each in of_kind(everything(), "Service")}
    assert services["mail-sluice-bounce-door"]["externalTrafficPolicy"] == "Local"
    front = services["mail-sluice-front-door"]
    assert front["loadBalancerSourceRanges"] == ["192.0.2.0/24"]
    assert [each["port"] for each in front["ports"]] == [587, 465]


@pytest.mark.parametrize(
    ("door", "variable"),
    [
        ("frontDoor", "SLUICE_INGEST__SMTP_PROXIES"),
        ("bounceDoor", "SLUICE_INGEST__BOUNCE_PROXIES"),
    ],
)
def test_a_door_behind_balancers_takes_the_addresses_from_their_headers(
    door: str, variable: str
) -> None:
    values = {
        "enabled": True,
        "hostName": "in.example.com",
        "certificateSecret": "tls",
        "proxies": ["10.0.0.0/16"],
        "service": {"externalTrafficPolicy": "Cluster"},
    }
    resources = render({door: values})
    ingest = by_component(resources, "StatefulSet")["ingest"]["spec"]["template"]["spec"]
    assert environment(ingest["containers"][0])[variable] == '["10.0.0.0/16"]'


def everything() -> list[Resource]:
    return render_set("everything")


@pytest.mark.parametrize("name", VALUE_SETS)
def test_every_port_of_a_service_leads_to_a_container(name: str) -> None:
    resources = render_set(name)
    labels = pod_labels(resources)
    opened = {}
    for component, workload in by_component(resources, "StatefulSet").items():
        (container,) = workload["spec"]["template"]["spec"]["containers"]
        opened[component] = {each["name"] for each in container["ports"]}
    for service in of_kind(resources, "Service"):
        wanted = selector_of(service).items()
        selected = [component for component in opened if wanted <= labels[component].items()]
        assert len(selected) == 1
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in opened[selected[0]]
