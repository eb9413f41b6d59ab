"""Reads the warm-up schedules of new source addresses from the shaping rules. Pure.

A provider trusts an address from which it has received good mail, but blocks an address that begins
with all its mail at once. A source with `warmup` begins with the first step of its schedule, at
each provider separately. All destinations without a known provider count as one provider, `other`.
A step is a limit per rolling window of 24 hours; like any other limit, it is counted over all
processes.

Owns: the choice of the schedule of a source at a provider. Does not own: the step in force
(core/reputation/warmup.py), the counting of a step (allowance.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct

from services.deliver.core.shaping.limits import Limit
from services.deliver.core.shaping.rules import KeyLimit, Rules, Setting, Value

DAY_S: Final = 86_400
# The name for all destinations that belong to no provider in the rules.
OTHER: Final = "other"
KEY_PREFIX: Final = "warmup:"
MOST_STEPS: Final = 100
MOST_MESSAGES: Final = 1_000_000_000
EXPECTED_STEPS: Final = "expected true, false or the messages of each day, such as [50, 100, 500]"


class Schedule(Struct, frozen=True):
    """The messages of each step, and the conditions for the next step.

    A day counts only if at least the part `enough` of the step's messages was sent. If at least the
    share `passes` was delivered, the next step follows. If less than the share `falls` was
    delivered, the previous step follows. Otherwise the step is repeated.
    """

    days: tuple[int, ...]
    enough: float
    passes: float
    falls: float
    origin: str

    def limit(self, step: int) -> Limit | None:
        """Return the limit of a step; None after the last step. The first step has the number 0."""
        if step >= len(self.days):
            return None
        return Limit(self.days[max(0, step)], DAY_S, is_window=True)


def place_of(provider: str) -> str:
    """Return the name of a provider in the states of warm-ups; `other` if it is ""."""
    return provider or OTHER


def provider_at(place: str) -> str:
    """Return the provider for a name that place_of() has returned; "" for `other`."""
    return "" if place == OTHER else place


def warmup_key(source: str, provider: str) -> str:
    """Return the key under which the steps of a source at a provider are counted."""
    return f"{KEY_PREFIX}{source}@{place_of(provider)}"


def stored_name(key: str, limit: Limit) -> str:
    """Return the name under which the store counts a limit of this key."""
    if key.startswith(KEY_PREFIX):
        # All steps count in the same window, so a new step allows only the difference to the
        # previous step.
        return key
    return f"{key}:{limit.unit}:{limit}"


def schedule_of(rules: Rules, source: str, provider: str) -> Schedule | None:
    """Return the schedule of a source at a provider ("" is `other`); None if it has no warm-up."""
    if not source:
        return None
    own = rules.table(f"source.{source}.provider.{place_of(provider)}")
    chosen = own.get("warmup") or rules.table(f"source.{source}").get("warmup")
    if chosen is None or chosen.value is False:
        return None
    general = dict(rules.table("warmup"))
    general.update(rules.table(f"warmup.provider.{place_of(provider)}"))
    if not all(key in general for key in READERS):
        return None  # these rules do not include the shipped files
    days = chosen if isinstance(chosen.value, tuple) else general["days"]
    enough, passes, falls = (_share(general, key) for key in _SHARES)
    return Schedule(_days(days), enough, passes, falls, days.origin)


def limit_of(rules: Rules, source: str, provider: str, step: int) -> KeyLimit | None:
    """Return the limit of a source at a provider at this step; None if there is no limit."""
    schedule = schedule_of(rules, source, provider)
    limit = schedule.limit(step) if schedule is not None else None
    if schedule is None or limit is None:
        return None
    origin = f"{schedule.origin}, day {step + 1} of {len(schedule.days)}"
    return KeyLimit(warmup_key(source, provider), limit, origin)


def _days(setting: Setting) -> tuple[int, ...]:
    assert isinstance(setting.value, tuple)
    return tuple(each for each in setting.value if isinstance(each, int))


def _share(general: Mapping[str, Setting], key: str) -> float:
    value = general[key].value
    assert isinstance(value, float)
    return value


def read_steps(value: Any) -> Value:
    """Read the `warmup` of a source. Raises ValueError with the expected form as its text."""
    return value if isinstance(value, bool) else read_days(value)


def read_days(value: Any) -> Value:
    """Read the number of messages of each day. Raises ValueError with the expected form."""
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_STEPS:
        raise ValueError(EXPECTED_STEPS)
    if not all(type(each) is int and 1 <= each <= MOST_MESSAGES for each in value):
        raise ValueError(f"{EXPECTED_STEPS}, each from 1 to {MOST_MESSAGES}")
    if sorted(value) != value:
        raise ValueError(f"{EXPECTED_STEPS}, none smaller than the one before")
    return tuple(value)


def read_share(value: Any) -> float:
    """Read a percentage such as "95%". Raises ValueError with the expected form as its text."""
    text = value.strip() if isinstance(value, str) else ""
    number = text.removesuffix("%")
    is_number = number.replace(".", "", 1).isascii() and number.replace(".", "", 1).isdecimal()
    if not text.endswith("%") or len(number) > 8 or not is_number or float(number) > 100:
        raise ValueError('expected a percentage from 0 to 100 such as "95%" or "0.3%"')
    return float(number) / 100


_SHARES: Final = ("enough", "passes", "falls")
READERS: Final[dict[str, Callable[[Any], Value]]] = {
    "days": read_days,
    **dict.fromkeys(_SHARES, read_share),
}
