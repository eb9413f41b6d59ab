"""The settings that a pipeline chooses for its services, and their check before the start.

The choice of settings has no side effects, except that it creates the certificate of the doors and
the key of the return paths. A setting of the user is never overridden (outside.py), with two
exceptions. An option of the command line overrides a setting, and a setting is overridden if two
processes cannot share its value.

Each process checks its settings again when it starts. Without the check in this module, a wrong
setting would appear only half a minute later, when Kafka has started and a service ends. The check
loads the models itself, because the command `config` of the services would start a process for each
service. All faults are reported together. A fault that several services have is reported once. Does
not own: the other checks of a service, such as the content of certificates.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

from cli.stack.paths import BOUNCE, FRONT
from local.outside import Outside
from local.parts import credentials, ports
from local.parts.credentials import make_return_keys
from services.billing.settings import Settings as Billing
from services.deliver.settings import Settings as Deliver
from services.ingest.settings import Settings as Ingest
from services.validate.settings import Settings as Validate
from shared.runtime.tcp import in_url
from shared.settings.loader import Fault, SettingsError, load, variable_of

# All peers of this pipeline have the same address, so a limit per host would limit all of them
# together.
_DOOR_LIMITS: Final = {
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
_CHOSEN: Final = (
    ("kafka", "static_membership"),
    ("runtime", "instance"),
    ("api", "http_port"),
    ("billing", "http_port"),
    ("billing", "serve_without_keys"),
    ("deliver", "routes"),
    ("deliver", "unsubscribe_url"),
    ("ingest", "smtp_listen"),
    ("ingest", "smtps_listen"),
    ("ingest", "bounce_listen"),
    ("ingest", "smtp_host_name"),
    ("return_path", "keys_file"),
)
# Maps each door to the process that serves it if the option `--apart` of `up` is used.
_DOORS: Final = {"smtp": FRONT, "smtps": FRONT, "bounce": BOUNCE}
_LOOPBACKS: Final = (ports.LOOPBACK, "localhost", "::1")
_CERTIFICATE_FILES: Final = (("ingest", "tls_certificate_file"), ("ingest", "tls_key_file"))
# The settings model of each module that `python -m` runs.
_MODELS: Final[dict[str, type[Struct]]] = {
    "services.ingest": Ingest,
    "services.validate": Validate,
    "services.deliver": Deliver,
    "services.billing": Billing,
}


class StackSettings(Struct, frozen=True):
    """The settings of one pipeline. The options `kafka` and `redis` are "" if they are absent."""

    outside: Outside
    kafka: str
    redis: str
    folder: Path
    port: Mapping[str, int]
    has_sink: bool
    copies: int = 1  # The number of copies of each topic on the embedded brokers.

    @property
    def broker(self) -> str:
        """Return the address of the broker that the pipeline uses. Return "" for an embedded
        broker."""
        return self.kafka or self.outside.text("kafka", "bootstrap")

    @property
    def redis_url(self) -> str:
        """Return the URL of the Redis that the pipeline uses. Return "" for an embedded Redis."""
        return self.redis or self.outside.text("redis", "url")

    @property
    def sink(self) -> str:
        """Return the address on which the sink listens."""
        return self._address("sink")

    @property
    def billing(self) -> str:
        """Return the address of the usage API as host:port."""
        host = self.outside.host("billing", "http_host", ports.LOOPBACK)
        return f"{in_url(host)}:{self.outside.port('billing', 'http_port') or self.port['billing']}"

    @property
    def api(self) -> str:
        """Return the URL of the API for platforms."""
        host = self.outside.host("api", "http_host", ports.LOOPBACK)
        scheme = "https" if self.outside.text("api", "tls_certificate_file") else "http"
        port = self.outside.port("api", "http_port") or self.port["api"]
        return f"{scheme}://{in_url(host)}:{port}"

    @property
    def http_host(self) -> str:
        """Return the host on which the services serve /ready and /metrics."""
        return self.outside.host("telemetry", "http_host", ports.LOOPBACK)

    @property
    def ca_file(self) -> str | None:
        """Return the CA file that SMTP clients must trust. Return None if the user sets a
        certificate."""
        if any(self.outside.origin(*key) for key in _CERTIFICATE_FILES):
            return None
        return str(credentials.certificate_path(self.folder))

    def door(self, name: str) -> str | None:
        """Return the first address for `smtp`, `smtps` or `bounce`. Return None if there is no
        address."""
        if not self.outside.origin("ingest", f"{name}_listen"):
            return self._address(name)
        return next(iter(self.outside.addresses("ingest", f"{name}_listen") or ()), None)

    def for_service(self, kafka: str, redis: str) -> dict[str, str]:
        """Return the environment that all services get, with this broker and Redis."""
        chosen = {
            # A restarted process has the same name. With static membership, it gets the same
            # partitions again.
            "SLUICE_KAFKA__STATIC_MEMBERSHIP": "true",
        }
        if self.copies > 1 and not self.broker:
            chosen["SLUICE_KAFKA__REPLICATION"] = str(self.copies)
        if not self.outside.origin("return_path", "keys_file"):
            chosen["SLUICE_RETURN_PATH__KEYS_FILE"] = str(make_return_keys(self.folder))
        if self.has_sink:
            chosen["SLUICE_DELIVER__ROUTES"] = json.dumps({"*": self.sink})
        env = self.outside.without_given(chosen)
        if self.kafka or not self.broker:
            env["SLUICE_KAFKA__BOOTSTRAP"] = kafka
        if self.redis or not self.redis_url:
            env["SLUICE_REDIS__URL"] = redis
        return env

    def for_billing(self, *, is_first: bool) -> dict[str, str]:
        """Return the HTTP settings of a process of the billing service. Only the first process has
        the fixed port.

        If the billing service listens only on loopback, its API needs no key.
        """
        chosen = {}
        if not is_first:
            chosen["SLUICE_BILLING__HTTP_PORT"] = "0"
        elif not self.outside.port("billing", "http_port"):
            chosen["SLUICE_BILLING__HTTP_PORT"] = str(self.port["billing"])
        # This pipeline is for trials, so anybody on this machine may read its bill. If the user
        # opens the API to other machines, the API requires a key.
        if self.outside.text("billing", "http_host") in ("", *_LOOPBACKS):
            unless_given = {"SLUICE_BILLING__SERVE_WITHOUT_KEYS": "true"}
            chosen |= self.outside.without_given(unless_given)
        return chosen

    def for_api(self) -> dict[str, str]:
        """Return the setting of the HTTP port of the API for platforms."""
        if self.outside.port("api", "http_port"):
            return {}
        return {"SLUICE_API__HTTP_PORT": str(self.port["api"])}

    def for_links(self) -> dict[str, str]:
        """Return the setting with the address of unsubscribe links, which is the API of this
        pipeline.

        An address that other machines can reach must be https, so the user must set it.
        """
        if not self.api.startswith(f"http://{ports.LOOPBACK}:"):
            return {}
        return self.outside.without_given({"SLUICE_DELIVER__UNSUBSCRIBE_URL": f"{self.api}/u"})

    def for_doors(self, name: str, processes: Collection[str]) -> dict[str, str]:
        """Return the environment of `name`, a process of the ingest service, with the doors of the
        process.

        If a door has its own process, no other process serves it, even if the user has set the
        address of the door.
        """
        served = [door for door, owner in _door_owners(processes).items() if owner == name]
        chosen = {
            **{_listen(door): json.dumps([self._address(door)]) for door in served},
            **door_limits(os.environ),
            "SLUICE_INGEST__SMTP_HOST_NAME": credentials.HOST,
        }
        if not any(self.outside.origin(*key) for key in _CERTIFICATE_FILES):
            files = credentials.make_certificate(self.folder)
            made = (files.certificate, files.key)
            for key, file in zip(_CERTIFICATE_FILES, made, strict=True):
                chosen[variable_of(*key)] = str(file)
        closed = {_listen(door): "[]" for door in _DOORS if door not in served}
        if name != "ingest":
            closed["SLUICE_INGEST__READS_INTAKES"] = "false"
        return self.outside.without_given(chosen) | closed

    def is_named(self, name: str) -> bool:
        """Return True if a process gets the instance name that the user has set.

        Further processes of a service (`deliver-2`) do not get this name, because two processes
        must not have the same name.
        """
        return "-" not in name and bool(self.outside.text("runtime", "instance"))

    def _address(self, name: str) -> str:
        return f"{ports.LOOPBACK}:{self.port[name]}"


def _door_owners(processes: Collection[str]) -> dict[str, str]:
    """Return, for each door, the name of the process that serves it."""
    return {door: own if own in processes else "ingest" for door, own in _DOORS.items()}


def _listen(door: str) -> str:
    return variable_of("ingest", f"{door}_listen")


def door_limits(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the limits of the pipeline's doors, except limits that the environment sets."""
    return {name: value for name, value in _DOOR_LIMITS.items() if name not in environ}


def kept(outside: Outside, kafka: str, redis: str) -> list[str]:
    """Return the key and the origin of each setting of the user that is used instead of a choice.

    `kafka` and `redis` are options of the command line, which override the user's settings.
    """
    chosen = [*_CHOSEN, *_CERTIFICATE_FILES]
    chosen += [("kafka", "bootstrap")] if not kafka else []
    chosen += [("redis", "url")] if not redis else []
    given = ((key, outside.origin(*key)) for key in sorted(chosen))
    return [f"{'.'.join(key)} ({origin})" for key, origin in given if origin]


def check_settings(processes: Iterable[tuple[str, Mapping[str, str]]]) -> None:
    """Raise SettingsError with every fault of these processes (module and environment)."""
    faults: dict[Fault, None] = {}
    for module, environ in processes:
        try:
            load(_MODELS[module], environ)
        except SettingsError as error:
            faults.update(dict.fromkeys(error.faults))
    if faults:
        raise SettingsError(faults)
