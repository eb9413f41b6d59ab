"""`sluice acls`: prints the ACLs that the services and clients need, or applies them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

import click
from kafka.errors import KafkaError, SecurityDisabledError
from msgspec import Struct

from cli.acls import broker, output
from cli.acls.plan import Rule, Tenant, client_accounts, service_accounts
from cli.answer import Exit, fail, print_json
from cli.options import KafkaOnly, find_kafka, kafka_options
from cli.stack.state import NotRunning
from shared.plurals import counted
from shared.registry.store.view import load_registry
from shared.runtime.commands import run_command
from shared.runtime.errors import Unavailable
from shared.settings.loader import SettingsError, load
from shared.settings.sections import KafkaSettings
from shared.stream.client import BOOTSTRAP_MS, client_options, make_admin
from shared.topics.names import is_client_name

_TIMEOUT_MS: Final = 30_000
_HELP: Final = """Print the ACLs that each service and each registered client needs, or apply them.

A service gets only the rights that it needs. A client may write to its intake and read its events
topic. Two templates give the names of the principals: {name} stands for the client, or for the
service (`ingest`, `validate`, `deliver`, `billing`, and `operator` for sluice topics, clients and
audit). With mTLS a principal is the name of the certificate, such as `User:CN=sluice-{name}`. If
the template of services has no {name}, all services use the same login.

\b
Exit codes:
  0  printed, or the brokers now have these ACLs
  1  with --compare: the brokers have other ACLs
  2  wrong usage
  3  Kafka is unavailable, or has no authorizer
"""

Accounts = dict[str, tuple[Rule, ...]]


class Line(Struct, frozen=True):
    """One ACL in the output of --json."""

    principal: str
    resource: str
    pattern: str
    name: str
    operation: str


class Applied(Struct, frozen=True):
    """The JSON document of --compare and --apply."""

    missing: list[str]
    extra: list[str]
    added: bool
    removed: bool


class Wanted(Struct, frozen=True):
    """The options that select the accounts and define the names of their principals."""

    clients: tuple[str, ...]
    services_only: bool
    service_template: str
    client_template: str
    billing_group: str

    @property
    def are_registered(self) -> bool:
        """Return True if the accounts include the accounts of the registered clients."""
        return not (self.clients or self.services_only)


@click.command(help=_HELP)
@click.option(
    "--client",
    "clients",
    multiple=True,
    help="Only this client, which need not be registered; may be repeated.",
)
@click.option("--services-only", is_flag=True, help="Only the services, no clients.")
@click.option(
    "--service-principal",
    "service_template",
    default=output.SERVICE_TEMPLATE,
    show_default=True,
    help="Template for the principals of services.",
)
@click.option(
    "--client-principal",
    "client_template",
    default=output.CLIENT_TEMPLATE,
    show_default=True,
    help="Template for the principals of clients.",
)
@click.option(
    "--billing-group",
    default="sluice.billing",
    show_default=True,
    help="Value of the setting billing.group.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["commands", "strimzi", "json"]),
    default="commands",
    help="Print kafka-acls.sh commands, KafkaUser resources of Strimzi, or JSON.",
)
@click.option(
    "--cluster", default="kafka", show_default=True, help="Strimzi: name of the Kafka resource."
)
@click.option(
    "--authentication",
    type=click.Choice(["scram-sha-512", "tls", "tls-external"]),
    default="scram-sha-512",
    show_default=True,
    help="Strimzi: how these users log in.",
)
@click.option("--namespace", default="", help="Strimzi: namespace of the KafkaUser resources.")
@click.option(
    "--api-version",
    type=click.Choice(["v1", "v1beta2"]),
    default="v1",
    show_default=True,
    help="Strimzi: API version; v1beta2 if Strimzi is older than 0.49.",
)
@click.option("--compare", is_flag=True, help="Show how the brokers' ACLs differ.")
@click.option("--apply", "applies", is_flag=True, help="Add the ACLs that the brokers lack.")
@click.option("--prune", is_flag=True, help="With --apply: remove ACLs that are not in the plan.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
@kafka_options
def main(**options: object) -> None:
    """Print, compare or apply."""
    as_json = bool(options["as_json"]) or options["form"] == "json"
    if options["prune"] and not options["applies"]:
        fail("--prune needs --apply, because it removes ACLs", Exit.USAGE_ERROR, as_json)
    wanted = Wanted(**{name: options[name] for name in Wanted.__struct_fields__})  # type: ignore[arg-type]
    try:
        is_changing = bool(options["applies"] or options["compare"])
        kafka = _find_kafka(options, is_asked=is_changing or wanted.are_registered)
        accounts = _accounts(kafka, wanted)
        if is_changing:
            _apply(
                kafka,
                accounts,
                adds=bool(options["applies"]),
                prunes=bool(options["prune"]),
                as_json=as_json,
            )
    except SettingsError as error:
        fail("; ".join(map(str, error.faults)), Exit.USAGE_ERROR, as_json)
    except output.TemplateFault as error:
        fail(str(error), Exit.USAGE_ERROR, as_json)
    except SecurityDisabledError:
        text = "the brokers have no authorizer (authorizer.class.name): ACLs have no effect"
        fail(text, Exit.PART_UNAVAILABLE, as_json)
    except (Unavailable, KafkaError) as error:
        fail(str(error), Exit.PART_UNAVAILABLE, as_json)
    if as_json:
        print_json(_lines(accounts))
    elif options["form"] == "strimzi":
        strimzi = output.Strimzi(*map(str, map(options.get, output.Strimzi.__struct_fields__)))
        click.echo(output.as_strimzi(accounts, strimzi))
    else:
        click.echo(output.as_commands(accounts, kafka.bootstrap))


def _find_kafka(options: Mapping[str, object], *, is_asked: bool) -> KafkaSettings:
    """Return the settings of the Kafka server that the command queries or shows in its output.

    If the command needs no answer from Kafka (`is_asked` is false) and no pipeline runs here, the
    address comes from the settings.
    """
    try:
        return find_kafka(str(options["bootstrap"]), str(options["line"]))
    except NotRunning:
        if is_asked or options["line"]:
            raise
        return load(KafkaOnly).settings.kafka


def _accounts(kafka: KafkaSettings, wanted: Wanted) -> Accounts:
    found = [*service_accounts(wanted.billing_group)]
    if wanted.clients:
        for name in wanted.clients:
            if not is_client_name(name):
                raise output.TemplateFault(f"--client: {name!r} is not a client name")
        found += client_accounts(map(Tenant, dict.fromkeys(wanted.clients)))
    elif wanted.are_registered:
        registered = load_registry(kafka).values()
        found += client_accounts(Tenant(one.name, one.own_events) for one in registered)
    return output.named(
        found, wanted.service_template, wanted.client_template, clients_only=bool(wanted.clients)
    )


def _apply(
    kafka: KafkaSettings, accounts: Accounts, *, adds: bool, prunes: bool, as_json: bool
) -> NoReturn:
    options = client_options(kafka, "acls")
    admin = make_admin(options, _TIMEOUT_MS, bootstrap_timeout_ms=BOOTSTRAP_MS)
    try:
        found = broker.compare(admin, accounts)
        if adds:
            broker.add(admin, found.missing)
        if prunes:
            broker.remove(admin, found.extra)
    finally:
        admin.close()
    missing, extra = (
        list(map(broker.text_of, found.missing)),
        list(map(broker.text_of, found.extra)),
    )
    if as_json:
        print_json(Applied(missing, extra, adds, prunes))
    else:
        _say(missing, "added" if adds else "missing")
        _say(extra, "removed" if prunes else "beyond the plan")
        kinds = (counted(len(accounts), "principal"), counted(len(missing), "ACL"))
        click.echo(f"{kinds[0]}: {kinds[1]} {'added' if adds else 'missing'}, {len(extra)} extra")
    is_well = (adds or not missing) and (adds or not extra)
    sys.exit(Exit.OK if is_well else Exit.CHECK_FAILED)


def _say(acls: Sequence[str], word: str) -> None:
    for acl in acls:
        click.echo(f"{word}: {acl}")


def _lines(accounts: Accounts) -> list[Line]:
    return [
        Line(principal, rule.resource, rule.pattern, rule.name, rule.operation)
        for principal, rules in accounts.items()
        for rule in rules
    ]


if __name__ == "__main__":
    run_command(main, "acls")
