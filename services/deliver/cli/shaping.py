"""`sluice shaping`: explain shows every limit of a destination in force, check judges a file.

Reads the rules as deliver does, and the suspensions from the Redis of the settings or of the
running pipeline. Exit codes: 0 success, 1 the file has faults, 2 wrong usage.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from typing import Final

import click
import msgspec
from msgspec import Struct, structs

from cli.answer import Exit, fail, print_json, say
from cli.config.running import environment_of
from cli.control.output import order_line
from cli.stack import state
from cli.table import Column, lay_out, terminal_width
from cli.target import find_endpoints
from services.deliver.cli.reputation import (
    ShareRow,
    orders_on,
    read_known,
    share_rows,
    step_of,
)
from services.deliver.core.routing.sites import Mx, Routes, site_of_mx
from services.deliver.core.shaping.explain import Explained, explain
from services.deliver.core.shaping.keys import Destination, Party
from services.deliver.core.shaping.parsing import ShapingFaults
from services.deliver.core.shaping.rules import Rules
from services.deliver.core.shaping.suspensions import Suspension, Suspensions
from services.deliver.edge.dns.resolver import Resolver
from services.deliver.edge.shaping.loading import load_rules, read_file
from services.deliver.settings import Settings
from shared.mail.domains import normalise
from shared.runtime.clock import SystemClock
from shared.runtime.errors import Unavailable
from shared.runtime.help_group import HelpGroup
from shared.runtime.run_command import run_command
from shared.settings.loader import DEFAULT_ORIGIN, SettingsError, load
from shared.settings.redis import RedisSettings
from shared.store.client import NO_RETRY, connect_async
from shared.store.suspensions import SuspensionStore
from shared.topics.control import Order

SERVICE: Final = "deliver"


class _Answer(Struct, frozen=True):
    """What `explain` prints as JSON.

    `fault`: why suspensions are not known; "" if they are. `is_routed`: a setting names the server.
    """

    found: Explained
    fault: str
    is_routed: bool
    shares: list[ShareRow] = []
    orders: list[Order] = []
    # Why what Kafka knows is not shown: shares, orders, the step of the source.
    kafka_fault: str = ""


@click.group(cls=HelpGroup)
def group() -> None:
    """Show and check how fast mail is sent, and to whom."""


@group.command("check")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
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


@group.command("explain")
@click.argument("domain")
@click.option("--client", default="", help="Also the limits of this client.")
@click.option("--mailing", default="", help="Also those of this mailing ID of the client.")
@click.option("--sending-domain", default="", help="Also the suspensions of this domain.")
@click.option("--source", default="", help="Also the limits of this source address, by its name.")
@click.option("--state", "line", default="", help="Name of a running pipeline.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def explain_(domain: str, line: str, as_json: bool, **options: str) -> None:
    """Show every limit for mail to DOMAIN, where it comes from, and what is suspended."""
    try:
        settings, redis = _settings(line)
        rules = load_rules(settings.deliver.shaping_file)
    except (SettingsError, ShapingFaults) as error:
        fail(str(error), Exit.USAGE_ERROR, as_json)
    except Unavailable as error:
        fail(str(error), Exit.PART_UNAVAILABLE, as_json)
    name = normalise(domain)
    if not name:
        fail(f"{domain!r} is no domain name", Exit.USAGE_ERROR, as_json)
    sender = Party(
        options["client"],
        options["mailing"],
        options["sending_domain"].lower(),
        options["source"],
    )
    answer = asyncio.run(_explain(settings, redis, rules, name, sender, line=line))
    if as_json:
        print_json(answer)
        return
    _show(answer)


def _settings(line: str) -> tuple[Settings, RedisSettings]:
    """The settings of this command; those of the running pipeline unless they name a Redis."""
    loaded = load(Settings)
    settings = loaded.settings
    is_configured = loaded.origins["redis.url"] != DEFAULT_ORIGIN
    if is_configured and not line:
        return settings, settings.redis
    endpoints = find_endpoints(line, settings.kafka.bootstrap, is_configured=not line)
    if endpoints is None:
        return settings, settings.redis
    # What deliver was started with: its routes decide which limits hold.
    running = load(Settings, environment_of(line or state.MAIN)[SERVICE]).settings
    return running, structs.replace(running.redis, url=endpoints.redis)


async def _explain(
    settings: Settings, redis: RedisSettings, rules: Rules, domain: str, sender: Party, line: str
) -> _Answer:
    to = await _destination(settings, rules, domain)
    known, fault = Suspensions(), ""
    at = SystemClock().now_ms() / 1000
    client = connect_async(redis, retry=NO_RETRY)
    try:
        texts = await SuspensionStore(client, redis.limits_key, 2.0).exchange()
        known.merge([msgspec.json.decode(text, type=Suspension) for text in texts], at)
    except Unavailable as error:
        fault = str(error)
    finally:
        await client.aclose()
    kafka = read_known("", line)
    now_ms = int(at * 1000)
    step = step_of(kafka, sender.source, to.provider)
    return _Answer(
        explain(rules, known, to, sender, at, step),
        fault,
        to.is_override,
        share_rows(kafka, rules, sender.client, to.provider, now_ms),
        orders_on(kafka, sender.client, to.provider, now_ms) if to.provider else [],
        kafka.fault,
    )


async def _destination(settings: Settings, rules: Rules, domain: str) -> Destination:
    site = Routes(settings.deliver.routes).site_of(domain)
    if site is None:
        found = await Resolver(SystemClock().monotonic).resolve(domain)
        site = site_of_mx(found) if isinstance(found, Mx) else None
    if site is None:
        return Destination(domain, "", rules.provider_of(domain, ()))
    provider = rules.provider_of(domain, (host.name for host in site.hosts))
    return Destination(domain, site.name, provider, site.is_override)


def _show(answer: _Answer) -> None:
    found = answer.found
    click.echo(f"domain    {found.domain}")
    routed = " (by deliver.routes)" if answer.is_routed else ""
    click.echo(f"site      {found.site or 'not found in the DNS'}{routed}")
    click.echo(f"provider  {found.provider or 'none that the rules know'}")
    columns = [Column("what"), Column("concerns"), Column("value"), Column("from")]
    rows = [[row.what, row.key, row.value, row.origin] for row in found.limits]
    click.echo("\n".join(["", *lay_out(columns, rows, terminal_width()), ""]))
    if answer.fault:
        say(f"suspensions are not known: {answer.fault}")
    for each in found.suspensions:
        until = datetime.fromtimestamp(each.until, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        now = f"suspended until {until}" if each.until else f"at {each.factor:.0%} of its rate"
        click.echo(f"{each.key}: {now}: {each.reason}")
    for share in answer.shares:
        said = f"{share.part} of {share.whole}, suspended above {share.threshold} ({share.origin})"
        click.echo(f"{share.kind}: {said}")
    for order in answer.orders:
        click.echo(order_line(order))
    if answer.kafka_fault:
        say(f"shares, orders and warm-up are not known: {answer.kafka_fault}")
    if not found.suspensions and not answer.orders and not answer.fault:
        click.echo("nothing is suspended")


if __name__ == "__main__":
    run_command(group, "shaping")
