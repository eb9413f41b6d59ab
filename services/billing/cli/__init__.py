"""The commands of `sluice billing`. The command `serve` runs the service. The other commands show
or change counts, months and keys."""

from __future__ import annotations

from typing import NoReturn

from services.billing.cli import counts, keys, messages, months, proofs, quotas
from services.billing.settings import Settings
from shared.runtime.service_cli import Running, run_cli, service_cli


def _serve(settings: Settings, running: Running) -> int:
    # Import the service only for `serve`, because the other commands start twice as fast without
    # the import.
    from services.billing.app import serve

    return serve(settings, running)


group = service_cli("billing", Settings, _serve)
for each in (
    counts.usage,
    counts.recount_again,
    counts.rebuild,
    counts.adopt_log,
    months.months,
    months.close,
    months.signing_key,
    quotas.quotas,
    messages.messages,
    proofs.verify_statement,
    proofs.archive,
    keys.keys,
):
    group.add_command(each)


def main() -> NoReturn:
    """Run the command line and end the process."""
    run_cli(group)
