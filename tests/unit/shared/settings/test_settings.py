"""Settings: the sources and their order, conversion, and every kind of error."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct

from shared.settings.describe import show
from shared.settings.expected import describe
from shared.settings.loader import Fault, Loaded, SettingsError, load
from shared.settings.secrets import MASK, is_secret, masked
from shared.settings.sections import KafkaSettings, RedisSettings, RuntimeSettings


class DeliverSettings(Struct, frozen=True):
    routes: Annotated[dict[str, str], Meta(description="Where mail goes.")] = {}
    connections: Annotated[int, Meta(ge=1, le=100)] = 20
    rate: float = 1.0
    delays: tuple[int, ...] = (60,)
    tls: Literal["opportunistic", "required"] = "opportunistic"
    dkim: bool = False
    limit: int | None = None
    hmac_key: str = ""

    def __post_init__(self) -> None:
        if self.dkim and not self.hmac_key:
            raise ValueError("deliver.dkim needs deliver.hmac_key")


class Settings(Struct, frozen=True):
    runtime: RuntimeSettings = RuntimeSettings()
    kafka: KafkaSettings = KafkaSettings(partitions=8)
    redis: RedisSettings = RedisSettings()
    deliver: DeliverSettings = DeliverSettings()


class StatementSettings(Struct, frozen=True):
    path: str


class Demanding(Struct, frozen=True):
    billing: StatementSettings


def read(environ: dict[str, str], toml: str = "", folder: Path | None = None) -> Loaded[Settings]:
    path = None
    if toml:
        assert folder is not None
        path = folder / "sluice.toml"
        path.write_text(toml)
    return load(Settings, environ, path)


def faults_of(environ: dict[str, str], toml: str, folder: Path) -> dict[str, Fault]:
    with pytest.raises(SettingsError) as caught:
        read(environ, toml, folder)
    return {fault.path: fault for fault in caught.value.faults}


def test_defaults_hold_where_no_source_says_otherwise() -> None:
    loaded = read({})
    assert loaded.settings.deliver == DeliverSettings()
    assert loaded.settings.kafka.partitions == 8  # the model's own default for a section
    assert set(loaded.origins.values()) == {"default"}


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    toml = '[deliver]\nconnections = 5\nrate = 2\n[kafka]\nbootstrap = "a:1"\n'
    loaded = read({"SLUICE_DELIVER__CONNECTIONS": "7"}, toml, tmp_path)
    settings, origins = loaded.settings, loaded.origins
    assert (settings.deliver.connections, settings.deliver.rate) == (7, 2.0)
    assert settings.kafka == KafkaSettings(bootstrap="a:1", partitions=8)
    assert origins["deliver.connections"] == "environment SLUICE_DELIVER__CONNECTIONS"
    assert origins["deliver.rate"] == f"file {tmp_path / 'sluice.toml'}"
    assert origins["deliver.tls"] == "default"


def test_the_file_is_the_one_that_sluice_config_names(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[deliver]\nconnections = 5\n")
    loaded = load(Settings, {"SLUICE_CONFIG": str(tmp_path / "a.toml")})
    assert loaded.settings.deliver.connections == 5


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("SLUICE_DELIVER__CONNECTIONS", "9", "connections", 9),
        ("SLUICE_DELIVER__RATE", "0.5", "rate", 0.5),
        ("SLUICE_DELIVER__RATE", "3", "rate", 3.0),
        ("SLUICE_DELIVER__TLS", "required", "tls", "required"),
        ("SLUICE_DELIVER__ROUTES", '{"*": "127.0.0.1:25"}', "routes", {"*": "127.0.0.1:25"}),
        ("SLUICE_DELIVER__DELAYS", "[1, 2]", "delays", (1, 2)),
        ("SLUICE_DELIVER__LIMIT", "4", "limit", 4),
        ("SLUICE_DELIVER__LIMIT", "null", "limit", None),
        ("SLUICE_DELIVER__HMAC_KEY", "123", "hmac_key", "123"),
    ],
)
def test_a_text_from_the_environment_becomes_a_value_of_its_keys_type(
    variable: str, text: str, field: str, value: object
) -> None:
    assert getattr(read({variable: text}).settings.deliver, field) == value


@pytest.mark.parametrize(
    ("environ", "toml", "path", "expected"),
    [
        ({"SLUICE_DELIVER__CONNECTIONS": "x"}, "", "deliver.connections", "number from 1 to 100"),
        ({"SLUICE_DELIVER__CONNECTIONS": "0"}, "", "deliver.connections", "number from 1 to 100"),
        ({"SLUICE_DELIVER__CONNECTIONS": "\udcff"}, "", "deliver.connections", "to 100, in UTF-8"),
        ({"SLUICE_DELIVER__CONNECTIONS": ""}, "", "deliver.connections", "number from 1 to 100"),
        ({"SLUICE_DELIVER__DKIM": "yes"}, "", "deliver.dkim", "true or false"),
        ({"SLUICE_DELIVER__TLS": "no"}, "", "deliver.tls", "one of opportunistic, required"),
        ({"SLUICE_DELIVER__ROUTES": "a:1"}, "", "deliver.routes", "as JSON"),
        ({"SLUICE_DELIVER__ROUTES": '{"a": 1}'}, "", "deliver.routes", "a table of text to text"),
        ({"SLUICE_DELIVER__DELAYS": "[1, true]"}, "", "deliver.delays", "$[1]"),
        ({"SLUICE_KAFKA__BOOTSTRAP": "here"}, "", "kafka.bootstrap", "host:port"),
        ({"SLUICE_REDIS__URL": "here"}, "", "redis.url", "a URL redis://"),
        ({}, "[deliver]\nconnections = '7'\n", "deliver.connections", "number from 1 to 100"),
        ({}, "[deliver]\nroutes = 'a:1'\n", "deliver.routes", "a table of text to text"),
        ({}, "deliver = 5\n", "deliver", "a table: [deliver]"),
        # Unknown names, with the closest known name.
        ({"SLUICE_DELIVER__CONECTIONS": "5"}, "", "deliver.conections", "mean connections?"),
        ({"SLUICE_DELIVR__RATE": "5"}, "", "delivr", "mean deliver?"),
        ({"SLUICE_DELIVER_RATE": "5"}, "", "deliver_rate", "SLUICE_DELIVER__RATE"),
        ({}, "[deliver]\nrates = 1\n", "deliver.rates", "mean rate?"),
        ({}, "[delivery]\nrate = 1\n", "delivery", "mean deliver?"),
        # Values that contradict one another.
        ({"SLUICE_DELIVER__DKIM": "true"}, "", "deliver", "deliver.dkim needs deliver.hmac_key"),
        # Files that cannot be read.
        (
            {"SLUICE_CONFIG": "/nonexistent.toml"},
            "",
            "SLUICE_CONFIG",
            "cannot read the file: no such",
        ),
        ({}, "[deliver\n", "SLUICE_CONFIG", "TOML"),
    ],
)
def test_a_wrong_setting_is_told_with_its_path_and_what_was_expected(
    environ: dict[str, str], toml: str, path: str, expected: str, tmp_path: Path
) -> None:
    faults = faults_of(environ, toml, tmp_path)
    assert list(faults) == [path]
    assert expected in str(faults[path])


def test_all_faults_of_all_sources_are_told_at_once(tmp_path: Path) -> None:
    environ = {"SLUICE_KAFKA__PARTITIONS": "many", "SLUICE_NOWHERE__X": "1"}
    faults = faults_of(environ, "[deliver]\nrate = 'x'\ntls = 'y'\n", tmp_path)
    assert sorted(faults) == ["deliver.rate", "deliver.tls", "kafka.partitions", "nowhere"]
    origins = [str(fault.origin) for fault in faults.values()]
    assert sum(origin.startswith("environment") for origin in origins) == 2
    assert sum(origin.startswith("file") for origin in origins) == 2


def test_what_belongs_to_other_services_and_programs_is_left_alone(tmp_path: Path) -> None:
    environ = {
        "SLUICE_BILLING__ANYTHING": "x",
        "SLUICE_FAILPOINT": "deliver.data_sent:1",
        "SLUICE_DELIVER_SERVICE_HOST": "10.0.0.1",  # set by Kubernetes for a Service
        "PATH": "/bin",
    }
    assert read(environ, "[ingest]\nx = 1\n", tmp_path).settings.deliver == DeliverSettings()


def test_a_key_without_a_default_has_to_be_set() -> None:
    with pytest.raises(SettingsError) as caught:
        load(Demanding, {})
    assert [str(fault) for fault in caught.value.faults] == [
        "billing.path: required, and set nowhere: give text (no source sets it)"
    ]
    assert load(Demanding, {"SLUICE_BILLING__PATH": "x"}).settings.billing.path == "x"


def test_secrets_are_masked_in_rows_and_in_faults(tmp_path: Path) -> None:
    environ = {
        "SLUICE_DELIVER__HMAC_KEY": "topsecret",
        "SLUICE_REDIS__URL": "redis://user:topsecret@host/0",
    }
    rows = {row.key: row for row in show(read(environ))}
    assert rows["deliver.hmac_key"].value == MASK
    assert rows["redis.url"].value == f"redis://user:{MASK}@host/0"
    assert "topsecret" not in str(rows)
    faults = faults_of({}, "[deliver]\nhmac_key = 5551\n", tmp_path)
    assert "5551" not in str(faults["deliver.hmac_key"])


def test_a_row_tells_all_that_the_reference_needs() -> None:
    rows = {row.key: row for row in show(read({"SLUICE_DELIVER__ROUTES": '{"*": "a:1"}'}))}
    row = rows["deliver.routes"]
    assert (row.value, row.default) == ({"*": "a:1"}, {})
    assert row.variable == "SLUICE_DELIVER__ROUTES"
    assert (row.expected, row.description) == ("a table of text to text", "Where mail goes.")
    assert rows["kafka.partitions"].default == 8
    assert rows["runtime.instance"].default == ""
    assert rows["runtime.instance"].value != ""


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("password", "x", MASK),
        ("hmac_key", "x", MASK),
        ("api_keys", ["x"], MASK),
        ("token", "", ""),  # it is visible that none is set
        ("key_file", "/etc/key", "/etc/key"),
        ("keyword", "x", "x"),
        ("url", "redis://:pw@h:1/0", f"redis://:{MASK}@h:1/0"),
        ("url", "redis://h:1/0", "redis://h:1/0"),
        ("url", "redis://user:p@ss@h:1/0", f"redis://user:{MASK}@h:1/0"),
        ("url", "redis://user:p/s?s#s@h:1/0", f"redis://user:{MASK}@h:1/0"),
        ("url", "rediss://:p:w@[::1]:1", f"rediss://:{MASK}@[::1]:1"),
        ("url", "redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("url", "redis://user:@h:1", "redis://user:@h:1"),
        ("url", "redis://token@h:1", f"redis://{MASK}@h:1"),
        ("url", "unix:///run/r.sock?password=pw&db=1", f"unix:///run/r.sock?password={MASK}&db=1"),
        ("url", "unix:///r.sock?db=1&pass%77ord=p@w", f"unix:///r.sock?db=1&pass%77ord={MASK}"),
        ("url", "redis://h:1?ssl_password=p&w&db=2", f"redis://h:1?ssl_password={MASK}&db=2"),
        ("url", "redis://h:1/0?Password=p@w", f"redis://h:{MASK}?Password={MASK}"),
        ("url", "redis://:a?password=b@h", f"redis://:{MASK}?password={MASK}"),
        ("url", "redis://a:b@c?d@h", f"redis://a:{MASK}@h"),
        ("url", "redis://a:@b?password=@h:1", f"redis://a:{MASK}?password={MASK}"),
        ("url", "user://a://@h:1", f"user:{MASK}@h:1"),
        ("url", "redis://token@b:1?password=c@h", f"redis://:{MASK}?password={MASK}"),
        ("url", "redis://a:/b?password=@h:1", f"redis://a:{MASK}?password={MASK}"),
        ("url", "user:pw@h:1", f"user:{MASK}@h:1"),
        ("url", "redis:/:pw@h:1", f"redis:{MASK}@h:1"),
        ("urls", ["redis://:pw@h", "x"], [f"redis://:{MASK}@h", "x"]),
        ("routes", {"*": "a:1", "b": "u:pw@h:1"}, {"*": "a:1", "b": f"u:{MASK}@h:1"}),
        ("relay", {"password": "pw", "port": 25}, {"password": MASK, "port": 25}),
        ("bootstrap", "a:1,b:2", "a:1,b:2"),
        ("address", "postmaster@[2001:db8::1]", "postmaster@[2001:db8::1]"),
        ("partitions", 8, 8),
    ],
)
def test_masking_hides_secrets_and_nothing_else(key: str, value: Any, shown: Any) -> None:
    assert masked(key, value) == shown
    assert is_secret(key) == (key in {"password", "hmac_key", "api_keys", "token"})


PASSWORDS = st.lists(st.sampled_from([*"Q@:/?#=%; [].,1", "://", "password="])).map("".join)


@settings(max_examples=500)
@given(PASSWORDS, st.sampled_from(["user:{}", ":{}"]))
def test_no_part_of_a_password_before_the_host_is_shown(password: str, login: str) -> None:
    for form in ("redis://{}@h:6379/0", "rediss://{}@[::1]", "{}@h:6379", "redis:/{}@h"):
        assert "Q" not in masked("url", form.format(login.format(password)))


@given(PASSWORDS)
def test_no_part_of_a_password_in_a_query_is_shown(password: str) -> None:
    for form in ("unix:///r.sock?password={}", "redis://h:1/0?db=1&password={}&db=2"):
        assert "Q" not in masked("url", form.format(password))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Annotated[int, Meta(ge=1, le=5_000_000)], "a whole number from 1 to 5000000"),
        (Annotated[float, Meta(gt=0, lt=1)], "a number above 0 and below 1"),
        (Annotated[float, Meta(ge=0.5)], "a number from 0.5"),
        (Annotated[str, Meta(min_length=1, max_length=9)], "non-empty text of at most 9"),
        (dict[str, list[int]], "a table of text to a list, each a whole number"),
        (bool | None, "true or false or nothing"),
        (Annotated[str, Meta(extra={"expected": "host:port"})], "host:port"),
    ],
)
def test_a_type_is_told_in_words(kind: Any, words: str) -> None:
    assert describe(kind).startswith(words)


def test_a_type_may_say_whether_it_is_secret() -> None:
    assert not is_secret("cells_key", Annotated[str, Meta(extra={"secret": False})])
    assert is_secret("salt", Annotated[str, Meta(extra={"secret": True})])
    assert masked("cells_key", "x", Annotated[str, Meta(extra={"secret": False})]) == "x"
