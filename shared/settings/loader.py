"""Loads settings: the environment overrides the TOML file, which overrides the defaults.

`SLUICE_<SECTION>__<KEY>` sets one key; `SLUICE_CONFIG` contains the path of the TOML file. The
tables of this file are the sections. A model is a frozen Struct whose fields are sections; a
section is a frozen Struct with a default for every key. A text from the environment is converted to
the type of its key (tables and lists are JSON). An unknown key or section is a fault; the text of
the fault suggests the closest known name. A section that only other services have is ignored.

If anything is wrong, SettingsError reports all faults at once, each with its key path, the value
found, the value expected and its origin; settings are never partly loaded.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec import Struct, structs

from shared.settings.expected import describe, find_fault, shown, takes_json
from shared.settings.secrets import masked
from shared.settings.sections import SECTIONS

PREFIX: Final = "SLUICE_"
CONFIG_VARIABLE: Final = "SLUICE_CONFIG"
DEFAULT_ORIGIN: Final = "default"

T = TypeVar("T", bound=Struct)


@cache  # one entry per class; without the cache, msgspec evaluates annotations at each call
def _fields_of(kind: type[Struct]) -> tuple[structs.FieldInfo, ...]:
    return structs.fields(kind)


class Fault(Struct, frozen=True, omit_defaults=True):
    """One fault in the settings; `sentence` describes the fault if there is no value to compare."""

    path: str
    found: str
    expected: str
    origin: str
    sentence: str = ""

    def __str__(self) -> str:
        if self.sentence:
            return f"{self.path}: {self.sentence} ({self.origin})"
        return f"{self.path}: found {self.found}, expected {self.expected} ({self.origin})"


class SettingsError(ValueError):
    """The settings are not valid; `faults` has all faults, in the order of their paths."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(sorted(faults, key=lambda fault: fault.path))
        super().__init__("\n".join(map(str, self.faults)))


class Loaded(Struct, Generic[T], frozen=True):
    """The settings, and the origin of each value by key path (`kafka.bootstrap`)."""

    settings: T
    origins: dict[str, str]


class _Found(Struct, frozen=True):
    """A value from a source, not yet checked."""

    value: Any
    origin: str
    is_text: bool  # from the environment, not yet converted


def load(
    model: type[T],
    environ: Mapping[str, str] | None = None,
    toml_path: Path | str | None = None,
) -> Loaded[T]:
    """Load the settings of `model`; raises SettingsError with every fault.

    `environ` defaults to os.environ; `toml_path` defaults to the path in SLUICE_CONFIG.
    """
    environ = os.environ if environ is None else environ
    path = toml_path or environ.get(CONFIG_VARIABLE) or None
    fields = {field.name: field for field in _fields_of(model)}
    sections = {name: field.type for name, field in fields.items()}
    faults: list[Fault] = []
    found: dict[tuple[str, str], _Found] = {}
    if path is not None:
        found |= _from_toml(Path(path), sections, faults)
    found |= _from_environment(environ, sections, faults)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for section, field in fields.items():
        values[section] = _section(field, found, origins, faults)
    if not faults:
        try:
            return Loaded(model(**values), origins)
        except ValueError as error:
            faults.append(_clash("settings", error, "all sources"))
    raise SettingsError(faults)


class Given(Struct, frozen=True):
    """An unchecked value: text from the environment, or a TOML value."""

    value: Any
    origin: str


def find_given(environ: Mapping[str, str]) -> dict[tuple[str, str], Given]:
    """Return the values in the environment and in the TOML file (SLUICE_CONFIG).

    The keys are (section, key); the environment overrides the file. Names are not checked. Raises
    SettingsError if the file cannot be read.
    """
    found: dict[tuple[str, str], Given] = {}
    path = environ.get(CONFIG_VARIABLE)
    if path:
        faults: list[Fault] = []
        tables = _tables(Path(path), f"file {path}", faults)
        if faults:
            raise SettingsError(faults)
        for section, table in tables.items():
            for key, value in table.items() if isinstance(table, dict) else ():
                found[section, key] = Given(value, f"file {path}")
    for variable in sorted(environ):
        head, divider, tail = variable.removeprefix(PREFIX).partition("__")
        if variable.startswith(PREFIX) and divider:
            found[head.lower(), tail.lower()] = Given(environ[variable], f"environment {variable}")
    return found


def variable_of(section: str, key: str) -> str:
    """Return the name of the environment variable that sets a key."""
    return f"{PREFIX}{section.upper()}__{key.upper()}"


def _closest(name: str, known: Iterable[str]) -> str:
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]}?" if matches else ""


def _unknown(path: str, name: str, known: Iterable[str], origin: str) -> Fault:
    known = list(known)
    listed = ", ".join(known) + _closest(name, known)
    sentence = f"no such {'setting' if '.' in path else 'section'}; known: {listed}"
    return Fault(path, "a name that does not exist", f"one of {listed}", origin, sentence)


def _clash(path: str, error: ValueError, origin: str) -> Fault:
    return Fault(path, "values that clash", str(error), origin, str(error))


def _tables(path: Path, origin: str, faults: list[Fault]) -> dict[str, Any]:
    """Return the contents of the file; if it cannot be read, add a fault and return {}."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        sentence = f"cannot read the file: {reason}"
        wanted = "a TOML file that can be read"
        faults.append(Fault(CONFIG_VARIABLE, reason, wanted, origin, sentence))
    except UnicodeDecodeError as error:
        reason = f"the byte 0x{error.object[error.start]:02x} at position {error.start}"
        sentence = f"the file is not UTF-8: found {reason}"
        faults.append(Fault(CONFIG_VARIABLE, reason, "TOML in UTF-8", origin, sentence))
    except tomllib.TOMLDecodeError as error:
        sentence = f"the file is not valid TOML: {error}"
        faults.append(Fault(CONFIG_VARIABLE, str(error), "TOML", origin, sentence))
    return {}


def _from_toml(
    path: Path, sections: Mapping[str, Any], faults: list[Fault]
) -> dict[tuple[str, str], _Found]:
    origin = f"file {path}"
    found: dict[tuple[str, str], _Found] = {}
    for section, table in _tables(path, origin, faults).items():
        if section not in sections and section not in SECTIONS:
            faults.append(_unknown(section, section, SECTIONS, origin))
        elif not isinstance(table, dict):
            faults.append(Fault(section, shown(table), f"a table: [{section}]", origin))
        elif section in sections:
            keys = _fields_of(sections[section])
            for key, value in table.items():
                if key not in {field.name for field in keys}:
                    names = [field.name for field in keys]
                    faults.append(_unknown(f"{section}.{key}", key, names, origin))
                    continue
                found[section, key] = _Found(value, origin, is_text=False)
    return found


def _from_environment(
    environ: Mapping[str, str], sections: Mapping[str, Any], faults: list[Fault]
) -> dict[tuple[str, str], _Found]:
    known = {
        section: [field.name for field in _fields_of(kind)] for section, kind in sections.items()
    }
    flat = {
        f"{section}_{key}".upper(): variable_of(section, key)
        for section, keys in known.items()
        for key in keys
    }
    found: dict[tuple[str, str], _Found] = {}
    for variable in sorted(environ):
        if not variable.startswith(PREFIX):
            continue
        origin = f"environment {variable}"
        head, divider, tail = variable.removeprefix(PREFIX).partition("__")
        section, key = head.lower(), tail.lower()
        if not divider:
            # Other names are ignored, such as SLUICE_FAILPOINT and the variables that Kubernetes
            # sets for a service named sluice. But a key with one underscore instead of two is a
            # fault.
            if head in flat:
                sentence = f"the variable is called {flat[head]}, with two underscores"
                fault = Fault(head.lower(), variable, f"the name {flat[head]}", origin, sentence)
                faults.append(fault)
        elif section not in known:
            if section not in SECTIONS:
                faults.append(_unknown(section, section, SECTIONS, origin))
        elif key not in known[section]:
            faults.append(_unknown(f"{section}.{key}", key, known[section], origin))
        else:
            found[section, key] = _Found(environ[variable], origin, is_text=True)
    return found


def _section(
    section_field: structs.FieldInfo,
    found: Mapping[tuple[str, str], _Found],
    origins: dict[str, str],
    faults: list[Fault],
) -> Any:
    """Return the Struct of one section with its defaults, or None if the section has a fault."""
    section, kind = section_field.name, section_field.type
    values: dict[str, Any] = {}
    count = len(faults)
    for field in _fields_of(kind):
        path = f"{section}.{field.name}"
        raw = found.get((section, field.name))
        origins[path] = raw.origin if raw else DEFAULT_ORIGIN
        if raw is None:
            if field.required:
                wanted = describe(field.type)
                sentence = f"required, and set nowhere: give {wanted}"
                faults.append(Fault(path, "nothing", wanted, "no source sets it", sentence))
            continue
        try:
            value = values[field.name] = _convert(raw, field.type)
        except ValueError as error:
            expected = describe(field.type) + _detail(error)
        else:
            advice = find_fault(value, field.type)
            if not advice:
                continue
            expected = f"{describe(field.type)}; {advice}"
        text = shown(masked(field.name, raw.value, field.type))
        faults.append(Fault(path, text, expected, raw.origin))
    if len(faults) > count:
        return None
    try:
        # A model may replace the default values of a section.
        default = section_field.default
        return structs.replace(default, **values) if isinstance(default, kind) else kind(**values)
    except ValueError as error:
        sources = sorted({raw.origin for (name, _), raw in found.items() if name == section})
        faults.append(_clash(section, error, ", ".join(sources) or "default"))
        return None


def _convert(raw: _Found, kind: Any) -> Any:
    if not raw.is_text:
        return msgspec.convert(raw.value, kind)
    if takes_json(kind):
        return msgspec.json.decode(raw.value, type=kind, strict=False)
    return msgspec.convert(raw.value, kind, strict=False)


def _detail(error: ValueError) -> str:
    """Return the position of the fault inside a table or list, if msgspec reports it."""
    if isinstance(error, UnicodeError):
        return ", in UTF-8"
    if not isinstance(error, msgspec.ValidationError):
        return f", as JSON ({error})"
    text = str(error)
    if "`$" not in text or text.endswith("`$`"):
        return ""
    return f": {text}"
