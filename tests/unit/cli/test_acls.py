"""Which ACLs are wanted, how principals are named, and how ACLs are printed."""

from __future__ import annotations

import json
import shlex

import pytest
import yaml
from click.testing import CliRunner

from cli.acls.command import main
from cli.acls.output import TemplateFault, named
from cli.acls.plan import READ, WRITE, Rule, Tenant, client_accounts, service_accounts
from shared.topics import names

ADDRESS = ("--kafka", "broker:9092")


def covers(rule: Rule, topic: str) -> bool:
    if rule.resource != "topic":
        return False
    return topic.startswith(rule.name) if rule.pattern == "prefixed" else topic == rule.name


def who(operation: str, topic: str) -> set[str]:
    accounts = [*service_accounts(), *client_accounts([Tenant("shop"), Tenant("shop-2")])]
    return {
        account.name
        for account in accounts
        for rule in account.rules
        if rule.operation == operation and covers(rule, topic)
    }


@pytest.mark.parametrize(
    ("topic", "writers", "readers"),
    [
        (names.intake("shop"), {"shop"}, {"ingest"}),
        (names.RECEIVED, {"ingest"}, {"validate"}),
        (names.outbound("gmail"), {"validate"}, {"deliver"}),
        (names.deferred("1m"), {"validate", "deliver"}, {"deliver"}),
        (names.HANDOVER, {"deliver"}, {"deliver"}),
        (
            names.EVENTS,
            {"ingest", "validate", "deliver", "billing"},
            {"billing", "validate", "deliver"},
        ),
        (names.own_events("shop"), {"ingest", "validate", "deliver", "billing"}, {"shop"}),
        (names.SUBMISSIONS, {"validate"}, {"validate"}),
        (names.REFUSED, {"ingest", "validate", "deliver"}, set()),
        (names.CLIENTS, set(), {"ingest", "validate", "billing"}),
        (names.RETURNED, {"ingest", "validate", "deliver"}, {"validate"}),
        (names.CONTROL, {"deliver"}, {"deliver", "validate"}),
        (names.REPUTATION, {"deliver"}, {"deliver"}),
        (names.FORWARDING, {"validate"}, {"validate"}),
        (names.SUPPRESSIONS, {"validate"}, {"validate"}),
        (names.STATEMENTS, {"billing"}, {"billing"}),
        (names.QUOTAS, {"billing"}, {"billing", "validate"}),
        (names.HELD, {"validate"}, {"validate"}),
        (names.ACCESS, set(), {"billing", "validate"}),
        (names.ACCESS_LOG, {"billing", "validate"}, set()),
    ],
)
def test_a_topic_is_written_and_read_by_those_that_need_it(
    topic: str, writers: set[str], readers: set[str]
) -> None:
    assert who(WRITE, topic) == writers
    assert who(READ, topic) == readers


def test_a_client_without_events_of_its_own_may_only_write() -> None:
    (account,) = client_accounts([Tenant("shop", own_events=False)])
    assert {rule.operation for rule in account.rules} == {WRITE}


def test_no_client_has_a_name_that_reaches_into_another_ones_or_a_services() -> None:
    tenants = [Tenant(name) for name in ("sluice", "client", "a", "a-b", "ingest")]
    owned = [
        (account.name, rule)
        for account in client_accounts(tenants)
        for rule in account.rules
        if rule.resource != "topic"
    ]
    for name, rule in owned:
        assert rule.name == f"client.{name}."
    accounts = [*service_accounts(), *client_accounts(tenants)]
    assert len(named(accounts, "User:sluice-{name}", "User:client-{name}")) == len(accounts)


@pytest.mark.parametrize(
    ("services", "clients", "reason"),
    [
        ("User:{name}", "User:{name}", "two accounts would have the name User:ingest"),
        ("User:x", "User:y", "--client-principal 'User:y': expected a text such as User:client"),
        ("User:ingest", "User:{name}", "two accounts would have the name User:ingest"),
        (
            "User:",
            "User:{name}",
            "--service-principal 'User:': expected a text such as",
        ),
        ("User:*", "User:{name}", "stands for everybody"),
        ("{name}", "User:{name}", "expected a text such as"),
        ("User:{name}{name}", "User:{name}", "use {name} once or not at all"),
        ("User:{name}", "User:\n{name}", "remove control characters"),
    ],
)
def test_templates_that_give_no_principal_of_its_own_are_refused(
    services: str, clients: str, reason: str
) -> None:
    accounts = [*service_accounts(), *client_accounts([Tenant("ingest")])]
    with pytest.raises(TemplateFault, match=reason):
        named(accounts, services, clients)


def test_services_that_share_a_login_have_the_rights_of_all() -> None:
    accounts = [*service_accounts(), *client_accounts([Tenant("shop")])]
    shared = named(accounts, "User:CN=sluice", "User:{name}")
    assert list(shared) == ["User:CN=sluice", "User:shop"]
    rules = shared["User:CN=sluice"]
    assert len(rules) == len(set(rules))
    assert set(rules) == {rule for one in service_accounts() for rule in one.rules}


def test_a_client_gets_no_login_of_the_services_although_only_clients_are_printed() -> None:
    accounts = [*service_accounts(), *client_accounts([Tenant("shop"), Tenant("ingest")])]
    for services, clients in (("User:shop", "User:{name}"), ("User:{name}", "User:{name}")):
        with pytest.raises(TemplateFault, match="two accounts would have the name User:"):
            named(accounts, services, clients, clients_only=True)
    found = named(accounts, "User:sluice-{name}", "User:client-{name}", clients_only=True)
    assert set(found) == {"User:client-shop", "User:client-ingest"}


def run(*arguments: str) -> str:
    done = CliRunner().invoke(main, [*ADDRESS, *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_commands_can_be_pasted_into_a_shell() -> None:
    text = run("--client", "shop", "--client-principal", "User:CN={name},O=My Firm")
    commands = [shlex.split(line) for line in text.splitlines() if not line.startswith("#")]
    assert all(words[0] == "kafka-acls.sh" for words in commands)
    assert all("User:CN=shop,O=My Firm" in words for words in commands)
    assert sum("mail.intake.shop" in words for words in commands) == 1


def test_strimzi_users_have_the_same_rules() -> None:
    users = list(yaml.safe_load_all(run("--services-only", "--format", "strimzi")))
    assert [user["metadata"]["name"] for user in users] == [
        *("sluice-ingest", "sluice-validate", "sluice-deliver", "sluice-billing"),
        "sluice-operator",
    ]
    listed = json.loads(run("--services-only", "--json"))
    count = sum(
        len(acl["operations"]) for one in users for acl in one["spec"]["authorization"]["acls"]
    )
    assert count == len(listed)


def test_strimzi_users_have_the_version_and_the_namespace_that_are_asked_for() -> None:
    asked = ("--client", "shop", "--format", "strimzi")
    (user,) = yaml.safe_load_all(run(*asked))
    assert user["apiVersion"] == "kafka.strimzi.io/v1"
    assert "namespace" not in user["metadata"]
    (user,) = yaml.safe_load_all(run(*asked, "--namespace", "kafka", "--api-version", "v1beta2"))
    assert user["apiVersion"] == "kafka.strimzi.io/v1beta2"
    assert user["metadata"]["namespace"] == "kafka"


@pytest.mark.parametrize("asked", [("--client", "shop"), ("--services-only",)])
def test_what_needs_no_kafka_is_printed_without_one(
    asked: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    # No pipeline runs, and nothing answers at the default address.
    monkeypatch.setattr("cli.stack.state.running", lambda name: None)
    monkeypatch.setattr("cli.options.answers", lambda address: False)
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 0, done.output
    assert "kafka-acls.sh" in done.output
    assert CliRunner().invoke(main, ["--compare", *asked]).exit_code != 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--client", "Shop"), "is not a client name"),
        (("--services-only", "--prune"), "--prune needs --apply"),
        (("--services-only", "--service-principal", "me"), "expected a text such as"),
    ],
)
def test_wrong_usage_is_one_line(arguments: tuple[str, ...], reason: str) -> None:
    done = CliRunner().invoke(main, [*ADDRESS, *arguments])
    assert done.exit_code == 2
    assert reason in done.output
