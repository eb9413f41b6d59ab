"""What a line chooses for the services that it starts: addresses, routes, limits of its door.

Pure but for the door's certificate, which is made. A key that a person has set is never chosen
(outside.py), but for what the command line names and what no two processes can share.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

from local.outside import Outside, in_url
from local.parts import certificate, ports
from shared.settings.loader import variable_of

# All peers of this line have one address: what limits a single host would limit all of them.
_DOOR_LIMITS: Final = {
    "SLUICE_INGEST__SMTP_MAX_CONNECTIONS_PER_ADDRESS": "4000",
    "SLUICE_INGEST__SMTP_MAX_BEFORE_LOGIN_PER_ADDRESS": "4000",
    "SLUICE_INGEST__SMTP_NEW_CONNECTIONS_PER_MINUTE": "0",
    "SLUICE_INGEST__SMTP_MAX_FAILED_LOGINS": "1000",
    "SLUICE_INGEST__SMTP_MAX_FAILED_LOGINS_PER_ADDRESS": "10000",
    "SLUICE_INGEST__SMTP_ERRORS_PER_ADDRESS_PER_MINUTE": "0",
}
_CHOSEN: Final = (
    ("kafka", "static_membership"),
    ("runtime", "instance"),
    ("billing", "http_port"),
    ("deliver", "routes"),
    ("ingest", "smtp_listen"),
    ("ingest", "smtps_listen"),
    ("ingest", "smtp_host_name"),
)
_CERTIFICATE_FILES: Final = (("ingest", "tls_certificate_file"), ("ingest", "tls_key_file"))


def door_limits(environ: Mapping[str, str]) -> dict[str, str]:
    """The limits of the line's front door, but for those that the environment sets."""
    return {name: value for name, value in _DOOR_LIMITS.items() if name not in environ}


def kept(outside: Outside, kafka: str, redis: str) -> list[str]:
    """What a person has set and a line would have chosen: key and origin, for people.

    `kafka` and `redis` are what the command line names, which wins over both.
    """
    chosen = [*_CHOSEN, *_CERTIFICATE_FILES]
    chosen += [("kafka", "bootstrap")] if not kafka else []
    chosen += [("redis", "url")] if not redis else []
    given = ((key, outside.origin(*key)) for key in sorted(chosen))
    return [f"{'.'.join(key)} ({origin})" for key, origin in given if origin]


class LineSettings(Struct, frozen=True):
    """The settings of one line. `kafka` and `redis` are given on the command line, else ""."""

    outside: Outside
    kafka: str
    redis: str
    folder: Path
    port: Mapping[str, int]
    has_sink: bool

    @property
    def broker(self) -> str:
        """The broker that the line is to use; "" for one of its own."""
        return self.kafka or self.outside.text("kafka", "bootstrap")

    @property
    def redis_url(self) -> str:
        """The Redis that the line is to use; "" for one of its own."""
        return self.redis or self.outside.text("redis", "url")

    @property
    def sink(self) -> str:
        """Where the sink listens."""
        return self._address("sink")

    @property
    def billing(self) -> str:
        """Where usage is answered, as host:port."""
        host = self.outside.host("billing", "http_host", ports.LOOPBACK)
        return f"{in_url(host)}:{self.outside.port('billing', 'http_port') or self.port['billing']}"

    @property
    def http_host(self) -> str:
        """Where the services answer /ready and /metrics."""
        return self.outside.host("telemetry", "http_host", ports.LOOPBACK)

    @property
    def ca_file(self) -> str | None:
        """What SMTP clients have to trust; None if the certificate is not made here."""
        if any(self.outside.origin(*key) for key in _CERTIFICATE_FILES):
            return None
        return str(certificate.path_of(self.folder))

    def door(self, name: str) -> str | None:
        """The first address of the front door, `smtp` or `smtps`; None where it is closed."""
        if not self.outside.origin("ingest", f"{name}_listen"):
            return self._address(name)
        return next(iter(self.outside.addresses("ingest", f"{name}_listen") or ()), None)

    def for_service(self, kafka: str, redis: str) -> dict[str, str]:
        """The environment of every service, on this broker and Redis."""
        chosen = {
            # The names of parts last: one that is started again takes its partitions over.
            "SLUICE_KAFKA__STATIC_MEMBERSHIP": "true",
        }
        if self.has_sink:
            chosen["SLUICE_DELIVER__ROUTES"] = json.dumps({"*": self.sink})
        env = self.outside.without_given(chosen)
        if self.kafka or not self.broker:
            env["SLUICE_KAFKA__BOOTSTRAP"] = kafka
        if self.redis or not self.redis_url:
            env["SLUICE_REDIS__URL"] = redis
        return env

    def for_billing(self, *, is_first: bool) -> dict[str, str]:
        """Where a process of billing answers: the first at the line's port, others at any."""
        if not is_first:
            return {"SLUICE_BILLING__HTTP_PORT": "0"}
        if self.outside.port("billing", "http_port"):
            return {}
        return {"SLUICE_BILLING__HTTP_PORT": str(self.port["billing"])}

    def for_front_door(self) -> dict[str, str]:
        """The environment of the ingest that keeps the front door."""
        chosen = {
            "SLUICE_INGEST__SMTP_LISTEN": json.dumps([self._address("smtp")]),
            "SLUICE_INGEST__SMTPS_LISTEN": json.dumps([self._address("smtps")]),
            **door_limits(os.environ),
            "SLUICE_INGEST__SMTP_HOST_NAME": certificate.HOST,
        }
        if not any(self.outside.origin(*key) for key in _CERTIFICATE_FILES):
            files = certificate.make_certificate(self.folder)
            made = (files.certificate, files.key)
            for key, file in zip(_CERTIFICATE_FILES, made, strict=True):
                chosen[variable_of(*key)] = str(file)
        return self.outside.without_given(chosen)

    def is_named(self, name: str) -> bool:
        """Whether a process has the instance name that a person has set for all.

        Of further processes of a service (`deliver-2`) no two may have one.
        """
        return "-" not in name and bool(self.outside.text("runtime", "instance"))

    def _address(self, name: str) -> str:
        return f"{ports.LOOPBACK}:{self.port[name]}"
