"""Settings by a person override those of `./sluice up`, key by key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.stack.paths import BOUNCE, FRONT
from local.outside import Outside, check_servers, find_outside
from local.settings import StackSettings, kept
from shared.settings.loader import SettingsError
from shared.settings.secret_files import KeysFile

PORTS = {"sink": 1, "billing": 2, "smtp": 3, "smtps": 4, "bounce": 5}
KAFKA, REDIS = "127.0.0.1:9092", "redis://127.0.0.1:6379/0"
CHOSEN = {
    "SLUICE_KAFKA__BOOTSTRAP": KAFKA,
    "SLUICE_KAFKA__STATIC_MEMBERSHIP": "true",
    "SLUICE_REDIS__URL": REDIS,
    "SLUICE_BILLING__HTTP_PORT": "2",
    "SLUICE_BILLING__SERVE_WITHOUT_KEYS": "true",
    "SLUICE_DELIVER__ROUTES": json.dumps({"*": "127.0.0.1:1"}),
    "SLUICE_INGEST__SMTP_LISTEN": json.dumps(["127.0.0.1:3"]),
    "SLUICE_INGEST__SMTPS_LISTEN": json.dumps(["127.0.0.1:4"]),
    "SLUICE_INGEST__BOUNCE_LISTEN": json.dumps(["127.0.0.1:5"]),
    "SLUICE_INGEST__SMTP_HOST_NAME": "localhost",
    "SLUICE_INGEST__SMTP_MAX_CONNECTIONS_PER_ADDRESS": "4000",
    "SLUICE_INGEST__SMTP_MAX_BEFORE_LOGIN_PER_ADDRESS": "4000",
    "SLUICE_INGEST__SMTP_NEW_CONNECTIONS_PER_MINUTE": "0",
    "SLUICE_INGEST__SMTP_MAX_FAILED_LOGINS": "1000",
    "SLUICE_INGEST__SMTP_MAX_FAILED_LOGINS_PER_ADDRESS": "10000",
    "SLUICE_INGEST__SMTP_ERRORS_PER_ADDRESS_PER_MINUTE": "0",
    "SLUICE_INGEST__BOUNCE_MAX_CONNECTIONS_PER_ADDRESS": "1000",
    "SLUICE_INGEST__BOUNCE_NEW_CONNECTIONS_PER_MINUTE": "0",
    "SLUICE_INGEST__BOUNCE_ERRORS_PER_ADDRESS_PER_MINUTE": "0",
    "SLUICE_INGEST__BOUNCE_MESSAGES_PER_MINUTE_PER_ADDRESS": "0",
}
FILES = {"SLUICE_INGEST__TLS_CERTIFICATE_FILE", "SLUICE_INGEST__TLS_KEY_FILE"}
KEYS_FILE = "SLUICE_RETURN_PATH__KEYS_FILE"


def settings_of(
    environ: dict[str, str], folder: Path, kafka: str = "", redis: str = ""
) -> StackSettings:
    return StackSettings(find_outside(environ), kafka, redis, folder, PORTS, has_sink=True)


def chosen(settings: StackSettings) -> dict[str, str]:
    return {
        **settings.for_service(KAFKA, REDIS),
        **settings.for_doors("ingest", ()),
        **settings.for_billing(is_first=True),
    }


LISTENS = tuple(f"SLUICE_INGEST__{door}_LISTEN" for door in ("SMTP", "SMTPS", "BOUNCE"))
READS = "SLUICE_INGEST__READS_INTAKES"


@pytest.mark.parametrize(
    ("processes", "name", "open_doors", "reads"),
    [
        (("ingest",), "ingest", LISTENS, True),
        (("ingest", FRONT), "ingest", LISTENS[2:], True),
        (("ingest", FRONT), FRONT, LISTENS[:2], False),
        (("ingest", BOUNCE), "ingest", LISTENS[:2], True),
        (("ingest", BOUNCE), BOUNCE, LISTENS[2:], False),
        (("ingest", FRONT, BOUNCE), "ingest", (), True),
    ],
)
def test_each_door_is_in_one_process(
    tmp_path: Path, processes: tuple[str, ...], name: str, open_doors: tuple[str, ...], reads: bool
) -> None:
    given = {"SLUICE_INGEST__BOUNCE_LISTEN": '["0.0.0.0:25"]'}
    for environ in ({}, given):
        found = settings_of(environ, tmp_path).for_doors(name, processes)
        # What the user has set arrives with the environment of `up` itself.
        listening = {**environ, **found}
        assert {each for each in LISTENS if listening.get(each, "[]") != "[]"} == set(open_doors)
        assert (found.get(READS) != "false") is reads


def split(variable: str) -> tuple[str, str]:
    section, _, key = variable.removeprefix("SLUICE_").lower().partition("__")
    return section, key


def test_where_nothing_is_set_the_line_chooses_all(tmp_path: Path) -> None:
    found = chosen(settings_of({"SLUICE_COMMAND": "./sluice", "HOME": "/"}, tmp_path))
    made = {*FILES, KEYS_FILE}
    assert {name: value for name, value in found.items() if name not in made} == CHOSEN
    assert found.keys() >= made


@pytest.mark.parametrize("variable", CHOSEN)
def test_every_key_of_the_environment_wins(tmp_path: Path, variable: str) -> None:
    for name in (variable, "SLUICE_" + variable.removeprefix("SLUICE_").lower()):
        settings = settings_of({name: "7"}, tmp_path)
        assert CHOSEN.keys() - chosen(settings).keys() == {variable}


@pytest.mark.parametrize("variable", CHOSEN)
def test_every_key_of_the_file_wins(tmp_path: Path, variable: str) -> None:
    section, key = split(variable)
    path = tmp_path / "sluice.toml"
    path.write_text(f"[{section}]\n{key} = 7\n")
    settings = settings_of({"SLUICE_CONFIG": str(path)}, tmp_path)
    assert CHOSEN.keys() - chosen(settings).keys() == {variable}


@pytest.mark.parametrize("variable", sorted(FILES))
def test_a_certificate_or_key_of_ones_own_is_not_paired_with_a_made_one(
    tmp_path: Path, variable: str
) -> None:
    assert not chosen(settings_of({variable: "/x.pem"}, tmp_path)).keys() & FILES


def test_a_key_of_return_paths_is_made_once_and_is_usable(tmp_path: Path) -> None:
    path = Path(chosen(settings_of({}, tmp_path))[KEYS_FILE])
    assert KeysFile(str(path)).keys.ids == (1,)
    assert path.stat().st_mode & 0o077 == 0
    text = path.read_text()
    assert chosen(settings_of({}, tmp_path))[KEYS_FILE] == str(path)
    assert path.read_text() == text
    assert KEYS_FILE not in chosen(settings_of({KEYS_FILE: ""}, tmp_path))


def test_the_command_line_wins_over_the_environment(tmp_path: Path) -> None:
    environ = {"SLUICE_KAFKA__BOOTSTRAP": "a:1", "SLUICE_REDIS__URL": "redis://b"}
    settings = settings_of(environ, tmp_path, "c:2", "redis://d")
    assert (settings.broker, settings.redis_url) == ("c:2", "redis://d")
    found = settings.for_service(settings.broker, settings.redis_url)
    assert found["SLUICE_KAFKA__BOOTSTRAP"] == "c:2"
    assert found["SLUICE_REDIS__URL"] == "redis://d"


def test_the_doors_are_where_the_settings_put_them(tmp_path: Path) -> None:
    path = tmp_path / "sluice.toml"
    path.write_text(
        '[kafka]\nbootstrap = "a:1"\n[ingest]\nsmtps_listen = []\nsmtp_listen = ["b:25", "c:25"]\n'
        '[billing]\nhttp_host = "0.0.0.0"\nhttp_port = 8080\n[telemetry]\nhttp_host = "::"\n'
    )
    environ = {"SLUICE_CONFIG": str(path), "SLUICE_KAFKA__BOOTSTRAP": "d:1"}
    settings = settings_of(environ, tmp_path)
    assert settings.broker == "d:1"
    assert (settings.door("smtp"), settings.door("smtps")) == ("b:25", None)
    assert settings.billing == "127.0.0.1:8080"
    assert settings.http_host == "::1"
    plain = settings_of({}, tmp_path)
    assert (plain.broker, plain.redis_url) == ("", "")
    assert (plain.door("smtp"), plain.door("smtps")) == ("127.0.0.1:3", "127.0.0.1:4")
    assert plain.door("bounce") == "127.0.0.1:5"
    assert (plain.billing, plain.http_host) == ("127.0.0.1:2", "127.0.0.1")


@pytest.mark.parametrize("value", ["no list", '"b:25"', "[1]", "{"])
def test_a_door_that_is_no_list_is_left_to_ingest_to_refuse(tmp_path: Path, value: str) -> None:
    assert settings_of({"SLUICE_INGEST__SMTP_LISTEN": value}, tmp_path).door("smtp") is None


def test_an_instance_name_is_kept_but_for_further_processes_of_a_service(tmp_path: Path) -> None:
    settings = settings_of({"SLUICE_RUNTIME__INSTANCE": "mine"}, tmp_path)
    assert settings.is_named("deliver")
    assert not settings.is_named("deliver-2")
    assert not settings_of({}, tmp_path).is_named("deliver")


def test_what_wins_is_said_with_where_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "sluice.toml"
    path.write_text('[deliver]\nroutes = {"*" = "a:25"}\nconnections = 5\n')
    environ = {"SLUICE_CONFIG": str(path), "SLUICE_KAFKA__BOOTSTRAP": "d:1"}
    outside = find_outside(environ)
    routes = f"deliver.routes (file {path})"
    assert kept(outside, "", "") == [
        routes,
        "kafka.bootstrap (environment SLUICE_KAFKA__BOOTSTRAP)",
    ]
    assert kept(outside, "c:1", "") == [routes]
    assert kept(Outside(), "", "") == []


def test_a_port_that_all_services_would_share_is_refused() -> None:
    outside = find_outside({"SLUICE_TELEMETRY__HTTP_PORT": "9000"})
    with pytest.raises(
        SettingsError,
        match=r"telemetry.http_port: the services of a pipeline cannot share port 9000",
    ):
        outside.require_shareable(4)
    outside.require_shareable(1)
    find_outside({"SLUICE_TELEMETRY__HTTP_PORT": "0"}).require_shareable(4)


@pytest.mark.parametrize(
    ("kafka", "redis", "words"),
    [
        ("h:99999", "", r"^kafka.bootstrap: found 'h:99999', .* from 1 to 65535 \(--kafka\)$"),
        ("", "redis://h/x", r"^redis.url: found 'redis://h/x', .* \(--redis\)$"),
        ("", "http://h", r"^redis.url: found 'http://h', .* \(--redis\)$"),
    ],
)
def test_an_option_with_a_bad_address_is_refused_before_anything_starts(
    kafka: str, redis: str, words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        check_servers(kafka, redis)
    check_servers("", "")
    check_servers("h:9092", "redis://h/1")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="SLUICE_CONFIG: cannot read the file: no such file"):
        find_outside({"SLUICE_CONFIG": str(tmp_path / "none.toml")})


def test_a_further_process_of_billing_answers_at_any_port(tmp_path: Path) -> None:
    settings = settings_of({"SLUICE_BILLING__HTTP_PORT": "7"}, tmp_path)
    assert settings.for_billing(is_first=False)["SLUICE_BILLING__HTTP_PORT"] == "0"


@pytest.mark.parametrize(
    ("host", "is_open"),
    [("127.0.0.1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_a_bill_that_other_machines_reach_needs_a_key(
    tmp_path: Path, host: str, is_open: bool
) -> None:
    settings = settings_of({"SLUICE_BILLING__HTTP_HOST": host}, tmp_path)
    for is_first in (True, False):
        found = settings.for_billing(is_first=is_first)
        assert ("SLUICE_BILLING__SERVE_WITHOUT_KEYS" in found) is is_open
