"""Parses shaping files from TOML to rules, and reports all faults of a file at once. Pure.

The text of a fault contains the key, the value that was found, and the expected value.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from services.deliver.core.reputation import ratios
from services.deliver.core.shaping import warming
from services.deliver.core.shaping.keys import Scope
from services.deliver.core.shaping.limits import Unit, parse_duration, parse_limit
from services.deliver.core.shaping.replies import ShapingReply, example_fault
from services.deliver.core.shaping.rules import Provider, Rules, Setting, Value
from services.deliver.core.shaping.suspensions import Action
from shared.smtp.events import Stage
from shared.topics.retry_topics import DELAYS_S

# Maps each key of a table to the function that reads its value.
Readers = dict[str, Callable[[Any], Value]]
MOST_CONNECTIONS: Final = 1_000
_TABLES: Final = (
    *("default", "provider", "site", "domain", "client", "mailing", "source"),
    *("warmup", "ratios", "reply"),
)
_REPLY_KEYS: Final = frozenset(
    ("action", "scope", "for", "provider", "code", "status", "text", "stages", "example", "counter")
)


class ShapingFaults(ValueError):
    """The faults of a file, one per line."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class ShapingFile(Struct, frozen=True):
    """The content of one file: tables by name, providers and replies."""

    tables: dict[str, dict[str, Setting]]
    providers: list[Provider]
    replies: list[ShapingReply]
    text: str = ""


def combine(files: Sequence[ShapingFile]) -> Rules:
    """Return the rules of these files.

    A later file overrides single values of earlier files. The replies of the later file come first.
    """
    tables: dict[str, dict[str, Setting]] = {}
    providers: dict[str, Provider] = {}
    for file in files:
        for name, table in file.tables.items():
            tables.setdefault(name, {}).update(table)
        for provider in file.providers:
            before = providers.get(provider.name, provider)
            mx, domains = provider.mx or before.mx, provider.domains or before.domains
            providers[provider.name] = Provider(provider.name, mx, domains)
    replies = [reply for file in reversed(files) for reply in file.replies]
    version = hashlib.sha256("\0".join(file.text for file in files).encode()).hexdigest()[:8]
    return Rules(tables, providers.values(), replies, version)


def parse_file(text: str, name: str) -> ShapingFile:
    """Read one file; `name` is shown as its origin. Raises ShapingFaults."""
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ShapingFaults([f"{name}: not TOML: {error}"]) from None
    reader = _Reader(name)
    found = reader.read(tree)
    if reader.faults:
        raise ShapingFaults([f"{name}: {fault}" for fault in reader.faults])
    return replace(found, text=text)


class _Reader:
    """Reads the tree of one file and collects its faults."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.faults: list[str] = []
        self._tables: dict[str, dict[str, Setting]] = {}
        self._providers: list[Provider] = []

    def read(self, tree: dict[str, Any]) -> ShapingFile:
        for word in tree.keys() - set(_TABLES):
            self._fault(word, "a table that does not exist", f"one of {', '.join(_TABLES)}")
        self._table("default", tree.get("default", {}), _LIMITS)
        for name, table in self._named(tree, "provider"):
            self._provider(name, table)
        for word in ("site", "domain"):
            for name, table in self._named(tree, word):
                self._table(f"{word}.{name.lower()}", table, _LIMITS)
        for word, readers in (("client", _RATES), ("source", _SOURCE)):
            for name, table in self._named(tree, word):
                self._sender(f"{word}.{name}", table, readers)
        self._sender("warmup", self._one(tree, "warmup"), warming.READERS)
        self._ratios(self._one(tree, "ratios"))
        for name, table in self._named(tree, "mailing"):
            self._table(f"mailing.{name}", table, _RATES)
        rows = tree.get("reply", [])
        if not isinstance(rows, list):
            self._fault("reply", "a table", "[[reply]], with double brackets")
            rows = []
        replies = [self._reply(f"reply {number}", row) for number, row in enumerate(rows, 1)]
        return ShapingFile(self._tables, self._providers, [each for each in replies if each])

    def _named(self, tree: dict[str, Any], word: str) -> list[tuple[str, dict[str, Any]]]:
        found = tree.get(word, {})
        if not isinstance(found, dict):
            self._fault(word, repr(found), f"tables such as [{word}.NAME]")
            return []
        for name, table in found.items():
            if not isinstance(table, dict):
                self._fault(f"{word}.{name}", repr(table), "a table")
        return [(name, table) for name, table in found.items() if isinstance(table, dict)]

    def _provider(self, name: str, table: dict[str, Any]) -> None:
        mx = self._value(f"provider.{name}.mx", table.get("mx", []), _names)
        domains = self._value(f"provider.{name}.domains", table.get("domains", []), _names)
        self._providers.append(Provider(name, mx or (), domains or ()))
        rest = {key: value for key, value in table.items() if key not in ("mx", "domains")}
        self._table(f"provider.{name}", rest, _LIMITS)

    def _one(self, tree: dict[str, Any], word: str) -> dict[str, Any]:
        found = tree.get(word, {})
        if not isinstance(found, dict):
            self._fault(word, repr(found), f"a table [{word}]")
            return {}
        return found

    def _sender(self, name: str, table: dict[str, Any], readers: Readers) -> None:
        """Read the values of a client or source, and its values for each provider."""
        for provider, limits in self._named(table, "provider"):
            self._table(f"{name}.provider.{provider}", limits, readers)
        rest = {key: value for key, value in table.items() if key != "provider"}
        self._table(name, rest, readers)

    def _ratios(self, table: dict[str, Any]) -> None:
        """Read the ratios of all clients, of mail classes and of single clients."""
        for word in ("class", "client"):
            for name, values in self._named(table, word):
                self._sender(f"ratios.{word}.{name}", values, ratios.READERS)
        rest = {key: value for key, value in table.items() if key not in ("class", "client")}
        self._sender("ratios", rest, ratios.READERS)

    def _table(self, name: str, table: Any, readers: Readers) -> None:
        if not isinstance(table, dict):
            self._fault(name, repr(table), "a table")
            return
        origin = f"{self._name} [{name}]"
        for key, value in table.items():
            if key not in readers:
                self._fault(f"{name}.{key}", "no such setting", f"one of {', '.join(readers)}")
                continue
            read = self._value(f"{name}.{key}", value, readers[key])
            if read is not None:
                self._tables.setdefault(name, {})[key] = Setting(read, origin)

    def _value(self, key: str, value: Any, read: Callable[[Any], Any]) -> Any:
        try:
            return read(value)
        except ValueError as error:
            self._fault(key, repr(value), str(error).removeprefix("expected "))
            return None

    def _reply(self, where: str, row: Any) -> ShapingReply | None:
        try:
            rule = _read_reply(row, f"{self._name} [[{where}]]")
            fault = example_fault(rule)
        except (ValueError, re.error) as error:
            fault, rule = str(error), None
        if fault:
            self.faults.append(f"{where}: {fault}")
        return rule

    def _fault(self, key: str, found: str, expected: str) -> None:
        self.faults.append(f"{key}: found {found}, expected {expected}")


def _read_reply(row: Any, origin: str) -> ShapingReply:
    if not isinstance(row, dict) or (row.keys() - _REPLY_KEYS):
        known = ", ".join(sorted(_REPLY_KEYS))
        raise ValueError(f"found other keys, expected a table of {known}")
    missing = [key for key in ("action", "scope", "example", "counter") if key not in row]
    if missing or not row.keys() & {"code", "status", "text"}:
        raise ValueError(
            f"found no {', '.join(missing) or 'code, status or text'}, expected action, scope,"
            " example, counter and at least one of code, status, text"
        )
    action, scope = _word(Action, row["action"], "action"), _word(Scope, row["scope"], "scope")
    if action is not Action.RESUME and "for" not in row:
        raise ValueError("found no key `for`, expected a duration such as 15min")
    texts = row.get("text", [])
    return ShapingReply(
        action=action,
        scope=scope,
        for_s=parse_duration(str(row.get("for", "1s"))),
        provider=str(row.get("provider", "")),
        codes=tuple(int(code) for code in _listed(row.get("code", []))),
        status=tuple(map(str, _listed(row.get("status", [])))),
        text=re.compile("|".join(map(str, _listed(texts)))) if texts else None,
        stages=frozenset(_word(Stage, each, "stages") for each in row.get("stages", ())),
        example=str(row["example"]),
        counter=str(row["counter"]),
        origin=origin,
    )


def _word(kind: Any, text: Any, key: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        known = ", ".join(each.value for each in kind)
        raise ValueError(f"{key}: found {text!r}, expected one of {known}") from None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 100_000:
        raise ValueError("expected a whole number from 1 to 100000")
    return value


def _connections(value: Any) -> int:
    if _count(value) > MOST_CONNECTIONS:
        raise ValueError(f"expected at most {MOST_CONNECTIONS}")
    return int(value)


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise ValueError("expected a list of names")
    return tuple(each.lower().strip(".") for each in value)


def _limits(unit: Unit) -> Callable[[Any], Value]:
    def read(value: Any) -> Value:
        if not all(isinstance(each, str) for each in _listed(value)):
            raise ValueError('expected a limit such as "200/s", or a list of them')
        return tuple(parse_limit(each, unit) for each in _listed(value))

    return read


def _rate(value: Any) -> float:
    limit = parse_limit(str(value))
    if limit.is_window:
        raise ValueError('expected a rate such as "5/s"')
    return limit.per_s


def _seconds(value: Any) -> float:
    return float(parse_duration(str(value)))


def _retry(value: Any) -> tuple[str, ...]:
    steps = _names(value)
    if not steps or not all(step in DELAYS_S for step in steps):
        raise ValueError(f"expected a list of {', '.join(DELAYS_S)}")
    return steps


_RATES: Final[Readers] = {
    "messages": _limits(Unit.MESSAGES),
    "bytes": _limits(Unit.BYTES),
}
_SOURCE: Final[Readers] = {**_RATES, "warmup": warming.read_steps}
_LIMITS: Final[Readers] = {
    **_RATES,
    "connections": _connections,
    "messages_per_connection": _count,
    "connections_per_s": _rate,
    "idle_timeout": _seconds,
    "slow_rate": _rate,
    "retry": _retry,
}
