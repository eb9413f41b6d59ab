"""The commands of `sluice shaping`: `explain`, `check` and `providers`.

`explain` shows all limits in force for a destination, and `check` checks a shaping file. The
commands read the rules in the same way as the deliver service. The suspensions are read from the
Redis that the settings specify, or from the Redis of the running pipeline. Exit codes: 0 for
success, 1 if the file has faults, 2 for wrong usage.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final

import click
import msgspec
from msgspec import structs

from cli.answer import Exit, fail, print_json, say
from cli.clients.faults import answering, unknown
from cli.control.checking import check_client
from cli.options import find_endpoints, find_kafka, kafka_options, require_domain
from cli.stack import state
from cli.stack.state import environment_of
from services.deliver.cli.explaining import Answer, show
from services.deliver.cli.reputation import Known, read_known, share_rows, step_of
from services.deliver.core.control.orders import Place, concerning
from services.deliver.core.routing.sites import Mx, Routes, site_of_mx
from services.deliver.core.shaping.explain import explain
from services.deliver.core.shaping.keys import Destination, Party
from services.deliver.core.shaping.parsing import ShapingFaults
from services.deliver.core.shaping.rules import Rules
from services.deliver.core.shaping.suspensions import Suspension, Suspensions
from services.deliver.edge.dns.resolver import Resolver
from services.deliver.edge.shaping.loading import load_rules, read_file
from services.deliver.settings import Settings
from shared.registry.store.view import load_known
from shared.runtime.clock import SystemClock
from shared.runtime.commands import HelpGroup, run_command
from shared.runtime.errors import Unavailable
from shared.settings.loader import DEFAULT_ORIGIN, SettingsError, load
from shared.settings.redis import RedisSettings
from shared.store.client import NO_RETRY, connect_async
from shared.store.suspensions import SuspensionStore
from shared.topics.control import Scope

SERVICE: Final = "deliver"


@click.group(cls=HelpGroup)
def group() -> None:
    """Show and check the rules that limit how fast mail is sent."""


@group.command("check")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def check(file: str, as_json: bool) -> None:
    """Check a shaping file and the examples of its reply rules."""
    faults: tuple[str, ...] = ()
    try:
        read_file(file)
    except ShapingFaults as error:
        faults = error.faults
    if as_json:
        print_json({"file": file, "faults": list(faults)})
    else:
        for fault in faults:
            say(fault)
        if not faults:
            click.echo(f"{file}: no faults")
    sys.exit(Exit.CHECK_FAILED if faults else Exit.OK)


@group.command("providers")
@kafka_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def providers(bootstrap: str, line: str, as_json: bool) -> None:
    """List the providers of the rules; orders and files use these names."""
    settings, _, rules = _load("" if bootstrap else line, as_json, is_own=bool(bootstrap))
    path = settings.deliver.shaping_file
    origin = f"the shipped rules and {path}" if path else "the shipped rules"
    if as_json:
        print_json({"providers": rules.providers(), "origin": f"{origin} (deliver.shaping_file)"})
    else:
        click.echo("\n".join(rules.providers()))


@group.command("explain")
@click.argument("domain")
@click.option("--client", default="", help="Show the limits of this client, too.")
@click.option(
    "--mailing", default="", help="Show the limits of this mailing ID of the client, too."
)
@click.option("--sending-domain", default="", help="Show the suspensions of this domain, too.")
@click.option("--source", default="", help="Show the limits of the source of this name, too.")
@click.option("--state", "line", default="", help="Use the running pipeline of this name.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
@answering
def explain_(domain: str, line: str, as_json: bool, **options: str) -> None:
    """Show every limit for mail to DOMAIN, where it comes from, and what is suspended."""
    settings, redis, rules = _load(line, as_json)
    name = require_domain(domain)
    sender = Party(
        options["client"],
        options["mailing"],
        require_domain(options["sending_domain"]) if options["sending_domain"] else "",
        options["source"],
    )
    kafka = read_known("", line)
    _check(sender, settings, rules, line, kafka)
    answer = asyncio.run(_explain(settings, redis, rules, name, sender, kafka))
    if as_json:
        print_json(answer)
    else:
        show(answer)


def _check(sender: Party, settings: Settings, rules: Rules, line: str, kafka: Known) -> None:
    """Raise click.UsageError if the sender does not exist.

    Clients are not checked while Kafka is unavailable.
    """
    if sender.mailing_id and not sender.client:
        raise click.UsageError("--mailing belongs to a client: add --client")
    if sender.source:
        in_rules = (name.split(".")[1] for name in rules.tables("source."))
        known = {*settings.deliver.sources, *in_rules}
        if sender.source not in known:
            raise click.UsageError(f"--source: {unknown('source', sender.source, known)}")
    if sender.client and not kafka.fault:
        clients = load_known(find_kafka("", line))
        check_client(clients, sender.client, sender.mailing_id)


def _load(
    line: str, as_json: bool, *, is_own: bool = False
) -> tuple[Settings, RedisSettings, Rules]:
    """Return the settings and rules in force, or this command's settings and rules if `is_own`.

    A fault in the settings or rules ends the command.
    """
    try:
        if is_own:
            settings = load(Settings).settings
            redis = settings.redis
        else:
            settings, redis = _settings(line)
        return settings, redis, load_rules(settings.deliver.shaping_file)
    except (SettingsError, ShapingFaults) as error:
        fail(str(error), Exit.USAGE_ERROR, as_json)
    except Unavailable as error:
        fail(str(error), Exit.PART_UNAVAILABLE, as_json)


def _settings(line: str) -> tuple[Settings, RedisSettings]:
    """Return this command's settings if they specify a Redis, else the running pipeline's."""
    loaded = load(Settings)
    settings = loaded.settings
    is_configured = loaded.origins["redis.url"] != DEFAULT_ORIGIN
    if is_configured and not line:
        return settings, settings.redis
    endpoints = find_endpoints(line, settings.kafka.bootstrap, is_configured=not line)
    if endpoints is None:
        return settings, settings.redis
    # Use the environment with which the deliver service was started, because `deliver.routes`
    # decides which limits apply.
    running = load(Settings, environment_of(line or state.MAIN)[SERVICE]).settings
    return running, structs.replace(running.redis, url=endpoints.redis)


async def _explain(
    settings: Settings, redis: RedisSettings, rules: Rules, domain: str, sender: Party, kafka: Known
) -> Answer:
    to, place = await _destination(settings, rules, domain)
    at = SystemClock().now_ms() / 1000
    known, fault = await _suspensions(redis, at)
    now_ms = int(at * 1000)
    step = step_of(kafka, sender.source, to.provider)
    mail = Scope(sender.client, sender.mailing_id, domain=domain)
    orders = concerning(kafka.orders, mail, place, now_ms)
    return Answer(
        explain(rules, known, to, sender, at, step),
        fault,
        to.is_override,
        share_rows(kafka, rules, sender.client, to.provider, now_ms),
        orders.whole,
        orders.part,
        kafka.fault,
    )


async def _suspensions(redis: RedisSettings, at: float) -> tuple[Suspensions, str]:
    """Return the suspensions caused by replies, and the fault if they cannot be read, else ""."""
    known, fault = Suspensions(), ""
    client = connect_async(redis, retry=NO_RETRY)
    try:
        texts = await SuspensionStore(client, redis.limits_key, 2.0).exchange()
        known.merge([msgspec.json.decode(text, type=Suspension) for text in texts], at)
    except Unavailable as error:
        fault = str(error)
    finally:
        await client.aclose()
    return known, fault


async def _destination(settings: Settings, rules: Rules, domain: str) -> tuple[Destination, Place]:
    """Return the destination of mail for a domain, and its names in the operators' orders."""
    site = Routes(settings.deliver.routes).site_of(domain)
    if site is None:
        found = await Resolver(SystemClock().monotonic).resolve(domain)
        site = site_of_mx(found) if isinstance(found, Mx) else None
    if site is None:
        to = Destination(domain, "", rules.provider_of(domain, ()))
        return to, Place((), to.provider)
    hosts = [host.name for host in site.hosts]
    to = Destination(domain, site.name, rules.provider_of(domain, hosts), site.is_override)
    return to, Place((site.name, *hosts), to.provider)


if __name__ == "__main__":
    run_command(group, "shaping")
