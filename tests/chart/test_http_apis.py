"""The ways to the HTTP APIs: an Ingress or a route of a Gateway, with TLS; off by default."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.chart.rendering import (
    REQUIRED,
    ChartRefused,
    Resource,
    notes,
    render,
    render_set,
)
from tests.support.chart.resources import by_component, of_kind

PEERS = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}]
INGRESS: dict[str, Any] = {"enabled": True, "hostName": "bills.example.com"}
ROUTE: dict[str, Any] = {**INGRESS, "parentRefs": [{"name": "web", "namespace": "gateways"}]}


def rendered(**api: Any) -> list[Resource]:
    return render({"api": {"allowFrom": PEERS, **api}})


def test_nothing_leads_to_an_api_from_outside_unless_asked_for() -> None:
    assert of_kind(render(), "Ingress", "HTTPRoute", "Certificate") == []


@pytest.mark.parametrize("name", ["production", "everything"])
def test_every_way_leads_to_a_port_of_a_service_that_exists(name: str) -> None:
    resources = render_set(name)
    ports = {
        each["metadata"]["name"]: {port["name"]: port["port"] for port in each["spec"]["ports"]}
        for each in of_kind(resources, "Service")
    }
    ways = of_kind(resources, "Ingress", "HTTPRoute")
    assert ways
    for way in ways:
        (rule,) = way["spec"]["rules"]
        if way["kind"] == "Ingress":
            backend = rule["http"]["paths"][0]["backend"]["service"]
            assert backend["port"]["name"] in ports[backend["name"]]
        else:
            (backend,) = rule["backendRefs"]
            assert backend["port"] in ports[backend["name"]].values()


def test_an_ingress_uses_the_certificate_of_its_secret_for_its_name_only() -> None:
    (ingress,) = of_kind(rendered(ingress={**INGRESS, "certificateSecret": "bills"}), "Ingress")
    assert ingress["spec"]["tls"] == [{"hosts": ["bills.example.com"], "secretName": "bills"}]
    assert [rule["host"] for rule in ingress["spec"]["rules"]] == ["bills.example.com"]
    assert "ingressClassName" not in ingress["spec"]


def test_cert_manager_writes_the_secret_that_the_ingress_uses() -> None:
    resources = render_set("everything")
    certificates = {
        each["metadata"]["name"]: each["spec"] for each in of_kind(resources, "Certificate")
    }
    (ingress,) = of_kind(resources, "Ingress")
    certificate = certificates[ingress["metadata"]["name"]]
    (tls,) = ingress["spec"]["tls"]
    assert certificate["secretName"] == tls["secretName"]
    assert certificate["dnsNames"] == tls["hosts"]
    assert certificate["issuerRef"]["kind"] == "Issuer"
    assert len(certificates) == 3


@pytest.mark.parametrize("way", [{"ingress": INGRESS}, {"httpRoute": ROUTE}])
def test_only_the_named_peers_are_let_in(way: dict[str, Any]) -> None:
    spec = by_component(rendered(**way), "NetworkPolicy")["billing"]["spec"]
    (rule,) = (each for each in spec["ingress"] if each["ports"][0]["port"] == 8080)
    assert PEERS[0] in rule["from"]


def test_the_notes_name_the_address_and_warn_of_an_ingress_without_a_certificate() -> None:
    api: dict[str, Any] = {"allowFrom": PEERS, "ingress": INGRESS}
    shown = notes({**REQUIRED, "api": api})
    assert "The HTTP API of billing is at https://bills.example.com" in shown
    assert "WARNING: api.ingress.certificateSecret is empty" in shown
    with_secret = {**api, "ingress": {**INGRESS, "certificateSecret": "bills"}}
    assert "api.ingress" not in notes({**REQUIRED, "api": with_secret})


def test_without_billing_nothing_leads_to_its_api() -> None:
    api = {"allowFrom": PEERS, "ingress": INGRESS, "httpRoute": ROUTE}
    resources = render({"api": api, "components": {"billing": {"enabled": False}}})
    assert of_kind(resources, "Ingress", "HTTPRoute") == []


@pytest.mark.parametrize(
    ("api", "fault"),
    [
        ({"ingress": {"enabled": True}}, "api.ingress.hostName: required"),
        ({"httpRoute": {"enabled": True}}, "api.httpRoute.hostName: required"),
        ({"httpRoute": INGRESS}, "api.httpRoute.parentRefs: required"),
        ({"ingress": INGRESS, "allowFrom": []}, "api.allowFrom: required with api.ingress"),
        ({"httpRoute": ROUTE, "allowFrom": []}, "api.allowFrom: required with api.httpRoute"),
        (
            {"ingress": {**INGRESS, "certificateSecret": "x", "certManager": {"enabled": True}}},
            "api.ingress.certManager.issuer: required",
        ),
        (
            {"ingress": {**INGRESS, "certManager": {"enabled": True, "issuer": "ca"}}},
            "api.ingress.certificateSecret: required with certManager",
        ),
        ({"ingress": {**INGRESS, "path": "/v1"}}, "path"),
        ({"httpRoute": {**ROUTE, "parentRefs": [{"kind": "Gateway"}]}}, "parentRefs"),
    ],
)
def test_a_way_that_cannot_work_is_refused(api: dict[str, Any], fault: str) -> None:
    with pytest.raises(ChartRefused) as refused:
        rendered(**api)
    assert fault in str(refused.value)
