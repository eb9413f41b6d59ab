"""The command `sluice billing quotas`, which shows the monthly quotas and how much of each is
used."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Final

import click

from cli.answer import print_json
from cli.clients.faults import unknown_client
from cli.terminal import Column, Kind, lay_out, terminal_width
from services.billing.cli.opening import answering, as_json_option, connect_to, line_option
from services.billing.core.quotas import ShownQuota, shown_quotas
from shared.quotas.view import QuotaView
from shared.registry.store.view import load_all
from shared.runtime.clock import Deadline, SystemClock
from shared.runtime.errors import PartUnavailable, UsageError

_READ_TIMEOUT_S: Final = 15.0
_STEP_S: Final = 0.05


@click.command("quotas")
@click.option("--client", default="", help="Only this client.")
@as_json_option
@line_option
@answering
def quotas(client: str, as_json: bool, line: str) -> None:
    """Show the monthly quotas of clients and sub-clients, and how much of each is used."""
    parts = connect_to(line)
    loaded = load_all(parts.kafka)
    known = loaded.removed | loaded.clients
    if client and client not in known:
        raise UsageError(unknown_client(client, known))
    chosen = [known[client]] if client else list(loaded.clients.values())
    with closing(QuotaView(parts.options)) as view:
        view.start()
        deadline = Deadline(_READ_TIMEOUT_S)
        while not view.ready():
            if deadline.is_over():
                raise PartUnavailable("Kafka", parts.kafka.bootstrap, view.fault())
            time.sleep(_STEP_S)
        found = shown_quotas(chosen, view.state, SystemClock().now_ms())
    if as_json:
        print_json(found)
    else:
        click.echo("\n".join(quota_lines(found, terminal_width())))


def quota_lines(found: list[ShownQuota], width: int) -> list[str]:
    """Return the lines of a table of the quotas. If there are no quotas, return one sentence."""
    if not found:
        return ["no monthly quota is set; set monthly_quota of a client in clients.yaml"]
    columns = [Column("client"), Column("sub-client"), Column("month")]
    columns += [Column(name, Kind.COUNT) for name in ("quota", "used", "percent")]
    columns += [Column("events at"), Column("over quota")]
    rows = [
        [
            each.client,
            "all" if each.sub_client is None else each.sub_client,
            each.month or "-",
            str(each.quota),
            str(each.used),
            str(each.percent),
            ", ".join(map(str, each.reached)) or "-",
            each.over_quota.value,
        ]
        for each in found
    ]
    return lay_out(columns, rows, width)
