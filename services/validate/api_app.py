"""The composition root of `validate api`, which serves the HTTP API and one-click unsubscribing.

The API is a separate process. It joins no consumer group, so any number of these processes may run
behind a load balancer. Each process reads the topics of the keys, the clients and the suppressions,
and has no other state. One event loop answers the requests. Tasks that may block run in other
threads.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any, Final

from msgspec.structs import replace

from services.validate.edge.platform_api.app import Routes, make_app
from services.validate.edge.platform_api.counters import REDIS_S, CounterRoutes
from services.validate.edge.platform_api.entries import EntryFollower, EntryTable
from services.validate.edge.platform_api.messages import Lookup, MessageRoutes
from services.validate.edge.platform_api.request import Parts, Workers
from services.validate.edge.platform_api.suppressions import SuppressionRoutes
from services.validate.edge.platform_api.unsubscribe import (
    Links,
    UnsubscribeMetrics,
    UnsubscribeRoutes,
)
from services.validate.edge.platform_api.writer import PRODUCER_MS, KafkaWriter, PauseWatch
from services.validate.settings import ApiSettings, Settings
from shared.access.view import KeyView
from shared.http_api.keyed import AccessPolicy
from shared.http_api.server import ApiServer
from shared.mail.verp import Keys
from shared.registry.lookup import WithRemoved
from shared.registry.store.view import ClientView
from shared.runtime.errors import UsageError
from shared.runtime.lifecycle import OK
from shared.runtime.reloaded_files import Certificates
from shared.runtime.service_cli import Running
from shared.runtime.tcp import in_url
from shared.runtime.telemetry import Counters, Metric
from shared.settings.secret_files import load_return_keys
from shared.store.client import connect
from shared.store.counters import CounterStore
from shared.stream.client import make_producer
from shared.stream.client_events import ClientEvents
from shared.stream.kit import StreamKit
from shared.topics import names

log = logging.getLogger(__name__)

CERTIFICATE: Final = Metric(
    "sluice_api_certificate_expires_s",
    "Unix time in seconds at which the certificate of the API for platforms expires.",
)
# The maximum numbers of simultaneous look-ups in mail.events and of simultaneous queries to Redis.
# Each look-up has its own connection.
MAX_LOOKUPS: Final = 4
MAX_REDIS: Final = 16
# A look-up ends after its own time limit. Connecting and closing may take a few more seconds.
_LOOKUP_SPARE_S: Final = 5.0


def serve_api(settings: Settings, running: Running) -> int:
    """Serve requests until the process is asked to stop."""
    kit = StreamKit(settings.kafka, settings.runtime, running)
    keys = KeyView(kit.options, "api", running.clock)
    clients = ClientView(settings.kafka, settings.runtime.instance, running.clock)
    entries = EntryFollower(kit.options, EntryTable(), running.clock)
    pauses = PauseWatch(running.clock)
    writer = _writer(settings, running, kit, pauses)
    redis = Workers("questions to Redis", MAX_REDIS, REDIS_S)
    lookup_s = settings.api.lookup_timeout_s + _LOOKUP_SPARE_S
    lookups = Workers("look-ups of messages", MAX_LOOKUPS, lookup_s)
    store = CounterStore(
        connect(settings.redis, decode_responses=False), settings.redis.counters_key
    )
    parts = Parts(clients, entries, writer, store, redis, running.clock)
    # Unsubscribe links of a removed client work as long as the registry keeps the client.
    with_removed = replace(parts, clients=WithRemoved(clients))
    unsubscribe = UnsubscribeRoutes(
        with_removed, _links(settings), UnsubscribeMetrics(running.counters)
    )
    routes = _routes(settings, parts, lookups, unsubscribe)
    policy = AccessPolicy(keys, running.clock, settings.api.requests_per_minute)
    for name, check in {
        "keys": keys.fault,
        "clients": clients.check,
        "suppressions": entries.fault,
    }.items():
        running.health.add_ready(name, check)
    pauses.start()  # the pause watch must start before a request can wait
    server = _server(settings.api, make_app(routes, policy), running.counters)
    try:
        if kit.ensure_topics():
            for begun in (keys, clients, entries, writer):
                begun.start()
            written = (names.SUPPRESSIONS, names.EVENTS)
            with kit.watching((names.SUPPRESSIONS, names.EVENTS), written):
                running.stop.wait()
    finally:
        server.close()
        for ended in (writer, pauses, entries, clients, keys):
            ended.close()
        redis.close()
        lookups.close()
    return OK


def _routes(
    settings: Settings, parts: Parts, lookups: Workers, unsubscribe: UnsubscribeRoutes
) -> Routes:
    find = Lookup(settings.kafka, settings.api.lookup_timeout_s).find
    return Routes(
        SuppressionRoutes(parts),
        CounterRoutes(parts),
        MessageRoutes(parts, lookups, find),
        unsubscribe,
    )


def _server(api: ApiSettings, app: Any, counters: Counters) -> ApiServer:
    tls = None
    if bool(api.tls_certificate_file) != bool(api.tls_key_file):
        raise UsageError("api.tls_certificate_file, api.tls_key_file: set both, or none")
    if api.tls_certificate_file:
        named = "api.tls_certificate_file, api.tls_key_file"
        tls = Certificates(api.tls_certificate_file, api.tls_key_file, named)
        counters.watch(CERTIFICATE, tls.expires_at_s)
    server = ApiServer(app, api.http_host, api.http_port, "api.http_port", tls)
    where = f"http{'s' if tls else ''}://{in_url(server.host)}:{server.port}"
    log.info("the HTTP API answers requests", extra={"at": f"{where}/v1"})
    return server


def _writer(
    settings: Settings, running: Running, kit: StreamKit, pauses: PauseWatch
) -> KafkaWriter:
    make = partial(make_producer, kit.options, None, **PRODUCER_MS)
    copies = ClientEvents(settings.kafka, kit.options)
    return KafkaWriter(make, running.clock, copies.missing, kit.failpoints, pauses.is_suspect)


def _links(settings: Settings) -> Links:
    keys_file = load_return_keys(settings.return_path)
    days = settings.api.unsubscribe_days_valid
    if keys_file is None:
        log.warning("return_path.keys_file is not set: links to unsubscribe cannot be verified")
        return Links(lambda: None, days)

    def keys() -> Keys | None:
        keys_file.refresh()
        return keys_file.keys

    return Links(keys, days)
