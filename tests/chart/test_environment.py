"""The variables and arguments that the chart sets are those that the services know."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from typing import Any, Final

import click
import pytest
from msgspec import Struct, structs

from cli.stack.paths import ROOT
from cli.topics.command import main as topics_command
from services.validate.settings import DEFAULT_LANES, ValidateSettings
from shared.settings.loader import load, variable_of
from shared.settings.sections import KafkaSettings
from shared.topics.names import OUTBOUND_PREFIX
from tests.support.chart.rendering import HELMS, VALUE_SETS, Resource, render, render_set
from tests.support.chart.resources import by_component, containers, environment, of_kind, pods
from tools.chart.components import COMPONENTS, model_of
from tools.chart.settings_schema import OWNED
from tools.foreign_programs import GoProgram

# What Kubernetes itself resolves.
OURS: Final = ("POD_NAME", "POD_NAMESPACE")
# What the operator adds with `extraEnv`, which takes no setting.
EXTRA: Final = ("HTTPS_PROXY",)
STRIMZI: Final = {"topics": {"manage": "strimzi", "strimzi": {"cluster": "mail"}}}


class TopicSettings(Struct, frozen=True):
    """The sections that `sluice topics` reads: its own, and validate's for the lanes."""

    kafka: KafkaSettings = KafkaSettings()
    validate: ValidateSettings = ValidateSettings()


def settings_of(arguments: list[str]) -> Any:
    """The settings of the process that is run with these arguments."""
    package, _, name = arguments[0].partition(".")
    return model_of(name) if package == "services" else TopicSettings


@pytest.mark.parametrize("name", VALUE_SETS)
def test_every_service_starts_with_the_settings_of_the_chart(name: str) -> None:
    for _, container in containers(render_set(name)):
        if "args" not in container:  # the pod of `helm test`
            continue
        environ = environment(container)
        loaded = load(settings_of(container["args"]), environ)
        used = {variable_of(*key.split(".")) for key, origin in loaded.origins.items() if origin}
        strange = environ.keys() - used - set(OURS) - set(EXTRA)
        assert not strange, "the process does not read these"


@pytest.mark.parametrize("name", VALUE_SETS)
def test_every_argument_is_a_command_of_the_service(name: str) -> None:
    for _, container in containers(render_set(name)):
        if "args" not in container:
            continue
        module, *verbs = container["args"]
        assert importlib.util.find_spec(module) is not None
        if module == "cli.topics.command":
            assert isinstance(topics_command, click.Group)
            assert verbs[0] in topics_command.commands
        else:
            command = [sys.executable, "-m", module, *verbs, "--help"]
            assert (
                subprocess.run(command, cwd=ROOT, check=False, capture_output=True).returncode == 0
            )


def test_the_settings_that_the_chart_owns_are_known() -> None:
    sections = {
        section.name: section.type
        for component in COMPONENTS.values()
        for section in structs.fields(model_of(component.service))
    }
    there = {
        f"{name}.{field.name}" for name, kind in sections.items() for field in structs.fields(kind)
    }
    assert OWNED - there == set(), "OWNED has names that no service has"


@pytest.mark.parametrize("name", VALUE_SETS)
def test_every_file_of_a_setting_is_in_a_mounted_secret(name: str) -> None:
    found = 0
    for _, pod in pods(render_set(name)):
        volumes = {each["name"]: each for each in pod.get("volumes", ())}
        for container in pod["containers"]:
            mounts = {each["mountPath"]: each for each in container.get("volumeMounts", ())}
            for variable, text in environment(container).items():
                if not variable.endswith("_FILE"):
                    continue
                found += 1
                mount = mounts[text.rpartition("/")[0]]
                assert mount["readOnly"]
                assert "subPath" not in mount, "a changed secret would not arrive"
                assert volumes[mount["name"]]["secret"]["secretName"]
    assert found or name == "small"


def test_the_file_of_logins_is_a_mounted_secret_of_deliver_alone() -> None:
    name = "SLUICE_DELIVER__LOGINS_FILE"
    found = {
        component
        for component, workload in by_component(render_set("everything"), "StatefulSet").items()
        for container in workload["spec"]["template"]["spec"]["containers"]
        if environment(container).get(name) == "/etc/sluice/logins/logins.toml"
    }
    assert found == {"deliver"}


@pytest.mark.parametrize("used", [True, False])
def test_deliver_has_the_keys_of_return_paths_once_they_are_used(used: bool) -> None:
    door = {"enabled": True, "hostName": "mx.example.com", "certificateSecret": "tls"}
    resources = render({"bounceDoor": door, "returnPath": {"secret": "keys", "used": used}})
    for component, has_keys in (("ingest", True), ("validate", True), ("deliver", used)):
        pod = by_component(resources, "StatefulSet")[component]["spec"]["template"]["spec"]
        assert ("SLUICE_RETURN_PATH__KEYS_FILE" in environment(pod["containers"][0])) is has_keys
        volumes = {each["name"] for each in pod["volumes"]}
        assert ("secret-return-path" in volumes) is has_keys


def test_the_folder_of_dkim_keys_is_a_mounted_secret() -> None:
    workload = by_component(render_set("everything"), "StatefulSet")["deliver"]
    pod = workload["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    folder = environment(container)["SLUICE_DELIVER__DKIM_KEYS"]
    (mount,) = (each for each in container["volumeMounts"] if each["mountPath"] == folder)
    (volume,) = (each for each in pod["volumes"] if each["name"] == mount["name"])
    assert volume["secret"]["secretName"] == "dkim-keys"
    assert "subPath" not in mount, "a changed folder would not arrive"


def test_the_instance_is_unique_and_survives_a_restart() -> None:
    for component, workload in by_component(render_set("everything"), "StatefulSet").items():
        container = workload["spec"]["template"]["spec"]["containers"][0]
        environ = environment(container, f"mail-sluice-{component}-0")
        assert environ["SLUICE_RUNTIME__INSTANCE"] == f"eu.post.mail-sluice-{component}-0"
        assert environ["SLUICE_KAFKA__STATIC_MEMBERSHIP"] == "true"


def variables(resources: list[Resource], component: str) -> dict[str, str]:
    workload = by_component(resources, "StatefulSet")[component]
    return environment(workload["spec"]["template"]["spec"]["containers"][0])


def test_settings_of_a_component_override_those_of_all() -> None:
    resources = render_set("everything")
    assert variables(resources, "deliver")["SLUICE_RUNTIME__DRAIN_TIMEOUT_S"] == "120.5"
    assert variables(resources, "validate")["SLUICE_RUNTIME__DRAIN_TIMEOUT_S"] == "30"


def test_a_service_gets_only_the_sections_that_it_reads() -> None:
    resources = render_set("everything")
    assert "SLUICE_DELIVER__ROUTES" in variables(resources, "deliver")
    assert "SLUICE_DELIVER__ROUTES" not in variables(resources, "ingest")


@pytest.mark.parametrize(
    ("section", "key", "value", "text"),
    [
        ("ingest", "smtp_max_held_bytes", 1_099_511_627_776, "1099511627776"),
        ("ingest", "smtp_greeting_delay_s", 0.5, "0.5"),
        ("ingest", "smtp_messages_per_minute", 0, "0"),
        ("ingest", "code_header", "X-Code", "X-Code"),
        # Kubernetes would replace these.
        ("ingest", "code_header", "X-$(POD_NAME)-$$-$", "X-$(POD_NAME)-$$-$"),
        ("runtime", "processors", [0, 1], "[0,1]"),
    ],
)
def test_a_setting_arrives_as_it_was_written(section: str, key: str, value: Any, text: str) -> None:
    resources = render({"settings": {section: {key: value}}})
    assert variables(resources, "ingest")[variable_of(section, key)] == text


def test_false_and_zero_of_a_component_win_over_the_defaults() -> None:
    values = {
        "settings": {"deliver": {"reach_internet": True}},
        "components": {
            "deliver": {
                "settings": {"deliver": {"reach_internet": False}},
                "preStopSeconds": 0,
                "maxUnavailable": 0,
            },
            "validate": {"enabled": False},
        },
    }
    resources = render(values)
    assert variables(resources, "deliver")["SLUICE_DELIVER__REACH_INTERNET"] == "false"
    workloads = by_component(resources, "StatefulSet")
    assert "validate" not in workloads
    assert "lifecycle" not in workloads["deliver"]["spec"]["template"]["spec"]["containers"][0]
    assert "deliver" not in by_component(resources, "PodDisruptionBudget")


@pytest.mark.parametrize(
    ("bind_address", "telemetry", "listens"),
    [
        ("0.0.0.0", "0.0.0.0", ["0.0.0.0:2525", "0.0.0.0:2587"]),
        ("::", "::", ["0.0.0.0:2525", "[::]:2525", "0.0.0.0:2587", "[::]:2587"]),
    ],
)
def test_everything_listens_on_the_families_of_the_cluster(
    bind_address: str, telemetry: str, listens: list[str]
) -> None:
    door = {"enabled": True, "hostName": "in.example.com", "certificateSecret": "tls"}
    environ = variables(render({"bindAddress": bind_address, "frontDoor": door}), "ingest")
    assert environ["SLUICE_TELEMETRY__HTTP_HOST"] == telemetry
    assert json.loads(environ["SLUICE_INGEST__SMTP_LISTEN"]) == listens


def test_a_lane_without_domains_is_one_for_clients() -> None:
    resources = render({"lanes": {"marketing": []}, **STRIMZI})
    assert json.loads(variables(resources, "validate")["SLUICE_VALIDATE__LANES"])["marketing"] == []
    topics = {each["metadata"]["name"] for each in of_kind(resources, "KafkaTopic")}
    assert "mail.outbound.marketing" in topics


def test_the_topics_job_creates_the_lanes_of_validate() -> None:
    resources = render({"lanes": {"marketing": []}, "topics": {"manage": "job"}})
    (job,) = of_kind(resources, "Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    lanes = environment(container)["SLUICE_VALIDATE__LANES"]
    assert lanes == variables(resources, "validate")["SLUICE_VALIDATE__LANES"]
    assert "marketing" in json.loads(lanes)


@pytest.mark.parametrize("helm", HELMS.values(), ids=HELMS)
@pytest.mark.parametrize("lanes", [{}, {"apple": ["icloud.com"], "bulk": []}])
def test_the_lanes_of_the_chart_replace_the_shipped_ones(
    lanes: dict[str, list[str]], helm: GoProgram
) -> None:
    resources = render({"lanes": lanes, **STRIMZI}, helm)
    assert json.loads(variables(resources, "validate")["SLUICE_VALIDATE__LANES"]) == lanes
    assert lanes_with_a_topic(resources) == {"default", *lanes}


@pytest.mark.parametrize("helm", HELMS.values(), ids=HELMS)
@pytest.mark.parametrize("given", [{}, {"lanes": None}])
def test_the_chart_without_lanes_has_the_shipped_ones(
    given: dict[str, None], helm: GoProgram
) -> None:
    resources = render({**given, **STRIMZI}, helm)
    lanes = json.loads(variables(resources, "validate")["SLUICE_VALIDATE__LANES"])
    assert lanes == {lane: list(domains) for lane, domains in DEFAULT_LANES.items()}
    assert lanes_with_a_topic(resources) == {"default", *DEFAULT_LANES}


def lanes_with_a_topic(resources: list[Resource]) -> set[str]:
    found = {each["metadata"]["name"] for each in of_kind(resources, "KafkaTopic")}
    return {
        name.removeprefix(OUTBOUND_PREFIX) for name in found if name.startswith(OUTBOUND_PREFIX)
    }
