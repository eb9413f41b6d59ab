"""Odd values of the settings of each service are refused when the settings are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import inspect as shapes
from msgspec import structs

from services.billing import settings as billing
from services.deliver import settings as deliver
from services.ingest import settings as ingest
from services.validate import settings as validate
from shared.settings.loader import SettingsError, load, variable_of
from shared.settings.secrets import is_secret

MODELS: dict[str, Any] = {
    "ingest": ingest.Settings,
    "validate": validate.Settings,
    "deliver": deliver.Settings,
    "billing": billing.Settings,
}
KEYS = [
    (service, section.name, field)
    for service, model in MODELS.items()
    for section in structs.fields(model)
    for field in structs.fields(section.type)
]
# Names that may be anything: lanes, keys of Redis, headers.
NEVER_RIGHT = ["\n", "\0", " x", "x ", "a\x7fb"]


def test_no_setting_is_a_secret_since_all_secrets_are_in_files() -> None:
    # Commands use what a service shows of its settings: a hidden path would be another path.
    hidden = {
        f"{section}.{field.name}" for _, section, field in KEYS if is_secret(field.name, field.type)
    }
    assert not hidden


def faults_of(model: Any, environ: dict[str, str], toml: Path | None = None) -> str:
    try:
        load(model, environ, toml)
    except SettingsError as error:
        return str(error)
    return ""


def plain(kind: Any) -> shapes.Type:
    found = shapes.type_info(kind)
    while isinstance(found, shapes.Metadata):
        found = found.type
    return found


@pytest.mark.parametrize(
    ("service", "section", "key", "text", "words"),
    [
        ("ingest", "ingest", "smtp_listen", '["h:99999"]', "element 1: the port is a number"),
        ("ingest", "ingest", "smtps_listen", '["h:1", "[1.2]:5"]', "element 2: it is not an IPv6"),
        ("ingest", "ingest", "smtp_proxies", '["10.0.0.0/99"]', "element 1: such as 10.1.2.0/24"),
        ("ingest", "ingest", "smtp_host_name", "..", "a host name"),
        ("ingest", "ingest", "tls_key_file", "/a ", "white space"),
        ("ingest", "ingest", "smtp_max_held_bytes", "9" * 20, "to 1099511627776"),
        ("ingest", "ingest", "smtp_messages_per_minute", "9" * 20, "to 1000000000"),
        ("deliver", "deliver", "routes", '{"*": "h"}', "'*': add the port"),
        ("deliver", "deliver", "routes", '{"*": "h:0"}', "'*': the port is a number from 1"),
        ("deliver", "deliver", "routes", '{"a b": "h:1"}', "key 'a b': a host name"),
        ("deliver", "deliver", "ehlo_name", "10.0.0.1", "not a number"),
        ("deliver", "deliver", "dkim_key_file", " /a", "white space"),
        ("deliver", "kafka", "bootstrap", "h:99999", "address 1: the port"),
        ("deliver", "telemetry", "http_host", "h:80", "not an IPv6 address"),
        ("billing", "telemetry", "http_port", "65536", "from 0 to 65535"),
        ("billing", "billing", "http_host", "", "a host name or IP address"),
        ("billing", "billing", "time_zone", "Berlin", "an IANA zone, such as"),
        ("billing", "billing", "group", "a\x07b", "control characters"),
        ("validate", "redis", "url", "redis://h/notanumber", "the database is a number"),
        ("validate", "redis", "url", "http://h", "the scheme is"),
        ("validate", "validate", "lanes", '{"a.b": ["x"]}', "a lane (1 to 63"),
        ("validate", "validate", "lanes", '{"a": ["x y"]}', "'a': element 1: "),
    ],
)
def test_an_odd_value_is_refused_with_its_setting_and_advice(
    service: str, section: str, key: str, text: str, words: str
) -> None:
    said = faults_of(MODELS[service], {variable_of(section, key): text})
    assert said.startswith(f"{section}.{key}: found ")
    assert words in said


@pytest.mark.parametrize(
    ("service", "section", "field"), KEYS, ids=[f"{s}-{c}.{f.name}" for s, c, f in KEYS]
)
def test_no_setting_takes_a_value_that_is_never_right(
    service: str, section: str, field: structs.FieldInfo, tmp_path: Path
) -> None:
    path = tmp_path / "sluice.toml"
    match plain(field.type):
        case shapes.StrType():
            values = [msgspec.json.encode(text).decode() for text in NEVER_RIGHT]
        case shapes.IntType():
            values = ["-1", "9" * 18, "nan", "inf", "1.5", "true", '""', '"5"']
        case shapes.FloatType():
            values = ["-0.001", "1e300", "nan", "-nan", "inf", "-inf", "true", '""']
        case shapes.VarTupleType():
            values = ['[""]', "[nan]", "[-1]", '["x y"]', "{}"]
        case shapes.LiteralType(values=words):
            values = ["nan", "-1", '"x"', *([] if "" in words else ['""'])]
        case _:
            values = ['""', "nan", "-1"]
    for value in values:
        path.write_text(f"[{section}]\n{field.name} = {value}\n")
        said = faults_of(MODELS[service], {}, path)
        assert said.startswith((f"{section}.{field.name}: found", "SLUICE_CONFIG")), value
    texts = ["nan", "٣", "3 "] if isinstance(plain(field.type), shapes.IntType) else []
    for text in texts:
        assert faults_of(MODELS[service], {variable_of(section, field.name): text}), text


def test_a_password_in_a_url_is_not_shown() -> None:
    url = "redis://user:topsecret@h:99999/0"
    assert "topsecret" not in faults_of(validate.Settings, {"SLUICE_REDIS__URL": url})
