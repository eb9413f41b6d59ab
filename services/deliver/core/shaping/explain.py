"""Lists all limits for a destination and a sender with their origins, and all suspensions. Pure."""

from __future__ import annotations

from msgspec import Struct

from services.deliver.core.shaping.keys import Destination, Party, Scope, keys_of
from services.deliver.core.shaping.rules import KeyLimit, Rules, Value
from services.deliver.core.shaping.suspensions import Suspensions
from services.deliver.core.shaping.warming import limit_of


class LimitRow(Struct, frozen=True):
    """One limit: its kind, the key under which it is counted, and its origin."""

    what: str
    key: str
    value: str
    origin: str


class SuspensionRow(Struct, frozen=True):
    """A key that is suspended until a Unix time, or slowed down to `factor` if `until` is 0.0."""

    key: str
    until: float
    factor: float
    reason: str


class Explained(Struct, frozen=True):
    """The answer of explain()."""

    domain: str
    site: str
    provider: str
    limits: tuple[LimitRow, ...]
    suspensions: tuple[SuspensionRow, ...]


def explain(
    rules: Rules,
    known: Suspensions,
    to: Destination,
    sender: Party,
    at: float,
    step: int = 0,
) -> Explained:
    """Return all limits and suspensions for mail of this sender to this destination.

    An empty field of `sender` stands for all values: without a client, the suspensions of all
    clients at the destination are shown.

    `step` is the warm-up step of the sender's source at the provider, if the source warms up.
    """
    rows = [
        LimitRow(name, f"site:{to.site}", _text(each.value), each.origin)
        for name, each in rules.settings(to).items()
    ]
    rows += [
        LimitRow(each.limit.unit.value, each.key, str(each.limit), each.origin)
        for each in [*rules.limits(to, sender), *_warmup(rules, to, sender, step)]
    ]
    return Explained(
        to.domain, to.site, to.provider, tuple(rows), _suspended(known, to, sender, at)
    )


def _warmup(rules: Rules, to: Destination, sender: Party, step: int) -> list[KeyLimit]:
    found = limit_of(rules, sender.source, to.provider, step) if not to.is_override else None
    return [] if found is None else [found]


def _suspended(
    known: Suspensions, to: Destination, sender: Party, at: float
) -> tuple[SuspensionRow, ...]:
    keys = keys_of(to, sender)
    left_open = tuple(
        f"{scope}:"
        for scope, value in (
            (Scope.SOURCE, ""),  # the mail may use any source of its pool
            (Scope.CLIENT, sender.client),
            (Scope.SENDING_DOMAIN, sender.sending_domain),
        )
        if not value
    )
    found = []
    for state in known.all():
        is_open = state.key.startswith(left_open) and state.key.endswith(f"@{to.key}")
        if not (state.key in keys or is_open):
            continue
        until = state.until if state.is_suspended(at) else 0.0
        factor = state.factor_at(at)
        if until or factor < 1:
            found.append(SuspensionRow(state.key, until, factor, state.reason))
    return tuple(sorted(found, key=lambda row: row.key))


def _text(value: Value) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:g}"
