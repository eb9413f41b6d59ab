"""Fixtures for the whole suite: one real Kafka and one real Redis for a run.

The first test that needs one starts them for all workers of pytest-xdist; the worker that started
them stops them when the last worker has finished. Topics, keys and groups are therefore shared
too: each test uses its own names. FLUSHDB empties the database of one worker; FLUSHALL, which would
empty those of the other workers, is refused by the server.
"""

from __future__ import annotations

import fcntl
import gc
import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Final

import hypothesis
import msgspec
import pytest
from msgspec import Struct
from redis import Redis
from xdist.remote import Producer
from xdist.scheduler import LoadGroupScheduling

from cli.stack import state
from local.stack import Stack, StackOptions
from tests.support.chaos.scenario import FIXED, Kind
from tests.support.first_imports import import_share
from tests.support.group_scope import GroupScope, together
from tests.support.run_log import RunLog
from tests.support.scheduling import LongestFirst

# A busy machine makes examples slow; pytest-timeout ends a test that hangs.
hypothesis.settings.register_profile(
    "sluice", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("sluice")
# A server of aiosmtpd has 5 s to start otherwise, which a busy machine may need.
os.environ["AIOSMTPD_CONTROLLER_TIMEOUT"] = "120"

_WORKER = "PYTEST_XDIST_WORKER"
_GROUP_SCOPE: Final = pytest.StashKey[GroupScope]()
# The parts that this worker has started, and the file on which every user holds a shared lock.
_STARTED: Final = pytest.StashKey[tuple[Stack, Path]]()
# A server has 16 databases; each worker gets one.
_DATABASES = 16
# Nobody starts the shared broker again, so its session need not end soon; on a busy machine it
# stands still for seconds, and who asks it then would be told that there is no broker.
_BROKER_SESSION_MS = "60000"


class Parts(Struct, frozen=True):
    """The addresses of the shared parts, and the process that runs them."""

    kafka: str
    redis: str
    pid: int
    started: str
    users: str  # the file on which every user holds a shared lock

    @property
    def are_there(self) -> bool:
        return state.start_of(self.pid) == self.started


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("sluice")
    group.addoption("--long", action="store_true", help="Run the long tests, and only those.")
    group.addoption("--seeds", type=int, default=None, help="Chaos: how many seeds.")
    group.addoption("--seed", type=int, default=None, help="Chaos: this one seed.")
    group.addoption("--previous", default="", help="Chaos: the revision to upgrade from.")
    kinds = [*Kind, FIXED]
    group.addoption("--kind", action="append", choices=kinds, help="Chaos: only this kind.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Select long tests with --long, all others without it."""
    is_long = config.getoption("--long")
    wanted: list[pytest.Item] = []
    others: list[pytest.Item] = []
    for item in items:
        fits = (item.get_closest_marker("long") is not None) == is_long
        (wanted if fits else others).append(item)
    config.hook.pytest_deselected(items=others)
    items[:] = together(wanted)


def pytest_sessionstart() -> None:
    """Search for no garbage while everything is imported and collected, as nearly all stays."""
    gc.disable()


def pytest_collection(session: pytest.Session) -> None:
    """Import a share of the test modules first, if all are run by several processes."""
    worker: dict[str, object] = getattr(session.config, "workerinput", {})
    if worker and session.config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        number = int(str(worker["workerid"]).removeprefix("gw"))
        import_share(Path(__file__).parent, number, int(str(worker["workercount"])))


def pytest_collection_finish() -> None:
    """Exempt the tests themselves, which stay to the end, from each search for garbage."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_configure(config: pytest.Config) -> None:
    """Note the outcome of each test, in the one process that sees all; end what groups share."""
    config.stash[_GROUP_SCOPE] = scope = GroupScope()
    config.pluginmanager.register(scope)
    if _WORKER not in os.environ:
        config.pluginmanager.register(RunLog())


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stop the shared parts when their last user has finished.

    This is not done by the fixture, because the time-out of the worker's last test would include
    the wait for the other workers, whose groups may take many minutes more.
    """
    started = session.config.stash.get(_STARTED, None)
    if started is not None:
        stack, users = started
        with _locked(users, fcntl.LOCK_EX):
            stack.abandon()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadGroupScheduling | None:
    """Distribute modules and groups, the longest first."""
    return LongestFirst(config, log) if config.getvalue("dist") == "loadgroup" else None


@pytest.fixture(scope="session")
def group_scope(request: pytest.FixtureRequest) -> GroupScope:
    """Starts what the modules of an xdist group share."""
    return request.config.stash[_GROUP_SCOPE]


@pytest.fixture(scope="session")
def parts(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Parts]:
    """A Kafka and a Redis, started when needed, and stopped by pytest_sessionfinish()."""
    own = tmp_path_factory.getbasetemp()
    folder = own.parent if os.environ.get(_WORKER) else own
    lock, address = folder / "parts.lock", folder / "parts.json"
    stack: Stack | None = None
    with _locked(lock, fcntl.LOCK_EX):
        found = _read(address)
        if found is None:
            stack, found = _start(folder / f"parts-{uuid.uuid4().hex[:8]}")
            address.write_bytes(msgspec.json.encode(found))
        using = ExitStack()
        using.enter_context(_locked(Path(found.users), fcntl.LOCK_SH))
    yield found
    using.close()
    if stack is not None:
        with _locked(lock, fcntl.LOCK_EX):
            address.unlink()
        request.config.stash[_STARTED] = stack, Path(found.users)


@pytest.fixture(scope="session")
def kafka_bootstrap(parts: Parts) -> str:
    """host:port of the shared broker, which has the pipeline's topics, with the lane `default`."""
    return parts.kafka


@pytest.fixture(scope="session")
def redis_url(parts: Parts) -> str:
    """The URL of this worker's database on the shared Redis."""
    number = os.environ.get(_WORKER, "gw0").removeprefix("gw")
    return f"{parts.redis.rpartition('/')[0]}/{int(number) % _DATABASES}"


@contextmanager
def _locked(path: Path, kind: int) -> Iterator[IO[str]]:
    with path.open("w") as held:
        fcntl.flock(held, kind)
        yield held


def _read(address: Path) -> Parts | None:
    try:
        found = msgspec.json.decode(address.read_bytes(), type=Parts)
    except (OSError, msgspec.DecodeError):
        return None
    return found if found.are_there else None


def _start(folder: Path) -> tuple[Stack, Parts]:
    stack = Stack(
        StackOptions(
            name="tests",
            folder=folder,
            kafka_properties={"broker.session.timeout.ms": _BROKER_SESSION_MS},
            services=(),
            sink=False,
            is_lasting=False,
        )
    )
    stack.start()
    with Redis.from_url(stack.endpoints.redis) as server:
        server.acl_setuser("default", enabled=True, commands=["-flushall"])
    pid = os.getpid()
    users = str(folder / "users.lock")
    found = Parts(stack.endpoints.kafka, stack.endpoints.redis, pid, state.start_of(pid), users)
    return stack, found
