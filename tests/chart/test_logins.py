"""Each account of `sluice acls` logs in to Kafka as a user of its own, and KEDA as it does."""

from __future__ import annotations

from typing import Any, Final

import pytest

from cli.acls.plan import OPERATOR, service_accounts
from tests.support.chart.rendering import Resource, render
from tests.support.chart.resources import by_component, environment
from tools.chart.components import COMPONENTS

ALL: Final = {name: {"enabled": True} for name in COMPONENTS}
DOOR: Final = {"enabled": True, "hostName": "in.example.com", "certificateSecret": "tls"}
TLS: Final = {"tls": {"enabled": True}}
USER: Final = "SLUICE_KAFKA__SASL_USERNAME"

WAYS: Final[dict[str, tuple[dict[str, Any], dict[str, str], str]]] = {
    "a secret for each": (
        {**TLS, "sasl": {"mechanism": "SCRAM-SHA-512", "secret": "kafka-{name}"}},
        {USER: "from kafka-NAME/username"},
        "kafka-sasl",
    ),
    "a password for each, with a name that is no secret": (
        {"sasl": {"mechanism": "PLAIN", "secret": "{name}.pw", "username": "sluice-{name}"}},
        {
            USER: "sluice-NAME",
            "SLUICE_KAFKA__SASL_PASSWORD_FILE": "/etc/sluice/kafka-sasl/password",
        },
        "kafka-sasl",
    ),
    "a certificate for each, as Strimzi writes them": (
        {
            "tls": {
                "enabled": True,
                "clientSecret": "sluice-{name}",
                "certificateKey": "user.crt",
                "privateKey": "user.key",
            }
        },
        {
            "SLUICE_KAFKA__TLS_CERTIFICATE_FILE": "/etc/sluice/kafka-client/user.crt",
            "SLUICE_KAFKA__TLS_KEY_FILE": "/etc/sluice/kafka-client/user.key",
        },
        "kafka-client",
    ),
    "an OAuth client for each": (
        {
            **TLS,
            "sasl": {"mechanism": "OAUTHBEARER", "secret": "oauth-{name}"},
            "oauth": {"tokenUrl": "https://login.example.com/", "clientId": "sluice-{name}"},
        },
        {"SLUICE_KAFKA__OAUTH_CLIENT_ID": "sluice-NAME"},
        "kafka-sasl",
    ),
}


def rendered(kafka: dict[str, Any], **components: Any) -> list[Resource]:
    return render(
        {
            "kafka": kafka,
            "frontDoor": DOOR,
            "bounceDoor": DOOR,
            "components": {**ALL, **components},
            "operator": {"enabled": True},
        }
    )


@pytest.mark.parametrize("way", WAYS)
def test_every_process_logs_in_as_the_account_that_has_its_rights(way: str) -> None:
    kafka, variables, volume = WAYS[way]
    resources = rendered(kafka)
    workloads: dict[str, Resource] = {}
    for kind in ("StatefulSet", "Job", "Deployment"):
        workloads |= by_component(resources, kind)
    assert workloads.keys() >= {"topics", "operator", *COMPONENTS}
    accounts = set()
    for component, workload in workloads.items():
        account = COMPONENTS[component].service if component in COMPONENTS else OPERATOR
        accounts.add(account)
        pod = workload["spec"]["template"]["spec"]
        environ = environment(pod["containers"][0])
        wanted = {name: text.replace("NAME", account) for name, text in variables.items()}
        assert wanted.items() <= environ.items(), component
        volumes = {each["name"]: each for each in pod["volumes"]}
        secret = kafka["sasl"]["secret"] if "sasl" in kafka else kafka["tls"]["clientSecret"]
        mounted = volumes[f"secret-{volume}"]["secret"]["secretName"]
        assert mounted == secret.replace("{name}", account), component
    assert accounts == {each.name for each in service_accounts()}


@pytest.mark.parametrize(
    ("kafka", "secrets", "env"),
    [
        (
            WAYS["a secret for each"][0],
            {("username", "kafka-deliver", "username"), ("password", "kafka-deliver", "password")},
            set(),
        ),
        (
            WAYS["a password for each, with a name that is no secret"][0],
            {("password", "deliver.pw", "password")},
            {("username", USER)},
        ),
        (
            WAYS["a certificate for each, as Strimzi writes them"][0],
            {("cert", "sluice-deliver", "user.crt"), ("key", "sluice-deliver", "user.key")},
            set(),
        ),
    ],
)
def test_keda_asks_as_the_account_that_it_scales(
    kafka: dict[str, Any], secrets: set[tuple[str, ...]], env: set[tuple[str, ...]]
) -> None:
    keda = {"autoscaling": {"mode": "keda", "min": 2, "max": 3}}
    resources = rendered(kafka, deliver=keda, validate=keda)
    logins = by_component(resources, "TriggerAuthentication")
    assert logins.keys() == {"deliver", "validate"}
    spec = logins["deliver"]["spec"]
    found = {(each["parameter"], each["name"], each["key"]) for each in spec["secretTargetRef"]}
    assert found == secrets
    assert {(each["parameter"], each["name"]) for each in spec.get("env", ())} == env
    triggers = by_component(resources, "ScaledObject")["deliver"]["spec"]["triggers"]
    references = {each["authenticationRef"]["name"] for each in triggers if each["type"] == "kafka"}
    assert references == {logins["deliver"]["metadata"]["name"]}


def test_without_a_place_for_the_name_all_have_one_login() -> None:
    resources = rendered({"sasl": {"mechanism": "PLAIN", "secret": "kafka"}})
    users = {
        environment(each["spec"]["template"]["spec"]["containers"][0])[USER]
        for each in by_component(resources, "StatefulSet").values()
    }
    assert users == {"from kafka/username"}
