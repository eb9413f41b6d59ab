"""Which shares of bounces, complaints and policy blocks suspend a client at a provider. Pure.

The tables, the later one wins value by value: `[ratios]`, `[ratios.provider.NAME]`,
`[ratios.class.NAME]` and `[ratios.class.NAME.provider.NAME]` of the client's mail class,
`[ratios.client.NAME]`, `[ratios.client.NAME.provider.NAME]`.

Owns: which thresholds hold for whom. Does not own: the counts and what follows from them
(core/reputation/).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

from services.deliver.core.shaping.limits import Ratio, parse_duration, parse_ratio
from services.deliver.core.shaping.rules import Rules, Setting, Value

OFF: Final = "off"
DEFAULT_SUSPEND_S: Final = 6 * 3_600
LONGEST_SUSPEND_S: Final = 31 * 86_400


class Kind(StrEnum):
    """What is counted of a client's mail at a provider."""

    BOUNCES = "bounces"
    COMPLAINTS = "complaints"
    POLICY = "policy"


class Thresholds(Struct, frozen=True):
    """The thresholds of a client at a provider, and how long it is suspended above one."""

    ratios: dict[Kind, Ratio]
    origins: dict[Kind, str]
    suspend_s: int


def thresholds_of(rules: Rules, client: str, mail_class: str, provider: str) -> Thresholds:
    """Return the thresholds for this client at this provider."""
    found: dict[str, Setting] = {}
    for base in ("ratios", f"ratios.class.{mail_class}", f"ratios.client.{client}"):
        found.update(rules.table(base))
        found.update(rules.table(f"{base}.provider.{provider}"))
    kept = {
        kind: setting
        for kind in Kind
        if (setting := found.get(kind)) is not None and isinstance(setting.value, Ratio)
    }
    suspend = found.get("suspend")
    suspend_s = suspend.value if suspend and isinstance(suspend.value, int) else DEFAULT_SUSPEND_S
    ratios = {kind: each.value for kind, each in kept.items() if isinstance(each.value, Ratio)}
    return Thresholds(ratios, {kind: each.origin for kind, each in kept.items()}, suspend_s)


def _read_ratio(value: Any) -> Value:
    if value == OFF:
        return False
    return parse_ratio(value if isinstance(value, str) else "")


def _read_suspend(value: Any) -> int:
    found = parse_duration(str(value))
    if found > LONGEST_SUSPEND_S:
        raise ValueError("expected at most 31d")
    return found


READERS: Final[dict[str, Callable[[Any], Value]]] = {
    **dict.fromkeys((each.value for each in Kind), _read_ratio),
    "suspend": _read_suspend,
}
