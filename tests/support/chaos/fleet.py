"""The processes of each service on a stage, and the operations on them.

Job: start further processes with new names, stop them gracefully, pause
them, kill them, and return to one process of each service. Each operation
returns when it is complete; a process that does not comply causes an AssertionError.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from kafka import KafkaAdminClient

from cli.stack.paths import SERVICES
from shared.settings.sections import RuntimeSettings
from shared.stream.kafka_python.closing import make_client
from tests.support.chaos.stage import MAX_IN_FLIGHT, Run, Stage
from tests.support.metrics import values_of

# Slow and fast destinations share one site; mail to fast ones must not wait for the slow replies.
ENV: Final = {"SLUICE_DELIVER__MAX_CONNECTIONS": str(MAX_IN_FLIGHT)}
# The drain, plus the time to close the clients on a busy machine.
END_TIMEOUT_S: Final = RuntimeSettings().drain_timeout_s + 30.0
_ASK_TIMEOUT_S: Final = 60.0
_LOOK_S: Final = 0.2
IN_FLIGHT: Final = "sluice_stream_in_flight"


class Fleet:
    """The running processes of each service, oldest first."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._line = stage.stack
        self._members = {service: [service] for service in SERVICES}
        self._named = 1

    def members(self, service: str) -> tuple[str, ...]:
        """Return the running processes of a service."""
        return tuple(self._members[service])

    def start(self, service: str, failpoint: str = "") -> str:
        """Start one more process with a new name, without waiting for it; return the name."""
        self._named += 1
        name = f"{service}-{self._named}"
        self._stage.restart(name, failpoint)
        self._members[service].append(name)
        return name

    def restart(self, name: str) -> None:
        """Start a process that has ended under the same name, without waiting for it."""
        self._stage.down.discard(name)
        self._stage.restart(name)
        self._members[name.partition("-")[0]].append(name)

    def grow(self, services: Iterable[str], to: int) -> None:
        """Start processes until each of these services has `to` processes; wait until ready."""
        for service in services:
            for _ in range(to - len(self._members[service])):
                self.start(service)
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until all running processes are ready."""
        for members in self._members.values():
            for name in members:
                self._line.wait_ready(name)

    def end(self, names: Sequence[str]) -> None:
        """Stop these processes gracefully, all at once; each must drain and exit with 0."""
        for name in names:
            self._put_down(name)
            self._line.kill(name, signal.SIGTERM)
        deadline = time.monotonic() + END_TIMEOUT_S
        for name in names:
            process = self._line.process(name)
            in_time = process.wait(max(0.0, deadline - time.monotonic()))
            assert in_time, f"{name} did not end within {END_TIMEOUT_S} s:\n{process.log_tail()}"
            code = process.exit_code
            assert code == 0, f"{name} ended with {code} on SIGTERM:\n{process.log_tail()}"

    def roll(self, service: str, env: Mapping[str, str] | None = None) -> None:
        """Restart the processes of a service one by one, each under its name, as an upgrade does.

        Each process is ready before the next one is stopped. `env` are further variables of the
        new processes.
        """
        for name in self.members(service):
            self.end([name])
            self._stage.down.discard(name)
            self._line.start_part(name, env)
            self._members[service].append(name)
            self._line.wait_ready(name)

    def kill(self, name: str) -> None:
        """Kill a process with SIGKILL."""
        self._put_down(name)
        self._stage.kill(name)

    def die_at_failpoint(self, service: str, failpoint: str, timeout_s: float) -> str:
        """Start a process that dies at this failpoint; kill it if it does not reach it."""
        name = self.start(service, failpoint)
        self._put_down(name)
        if not self._stage.wait_failpoint(name, timeout_s):
            self._stage.kill(name)
        return name

    def pause(self, names: Sequence[str], seconds: float, run: Run) -> None:
        """Pause these processes with SIGSTOP, resume them after `seconds`; all must survive."""
        try:
            for name in names:
                self._line.kill(name, signal.SIGSTOP)
            until = time.monotonic() + seconds
            while (left := until - time.monotonic()) > 0:
                self._stage.look_after_parts(run)
                time.sleep(min(left, _LOOK_S))  # the fault itself, not a wait for a condition
        finally:
            for name in names:
                self._line.kill(name, signal.SIGCONT)

    def reset(self) -> None:
        """Return to one process of each service, with the name of the service."""
        for service, members in self._members.items():
            if service not in members:
                self._stage.down.discard(service)
                self._stage.restart(service)
                members.append(service)
        self.wait_ready()
        self.end([name for all_ in self._members.values() for name in all_ if name not in SERVICES])

    def has_partitions(self, service: str, members: int) -> bool:
        """Return whether the service's group has this many members, all with partitions to read."""
        group = f"sluice.{service}"
        admin = make_client(KafkaAdminClient, bootstrap_servers=self._stage.bootstrap)
        try:
            found = admin.describe_groups([group])[group]["members"]
        finally:
            admin.close()
        return len(found) == members and all(
            each["member_assignment"] and each["member_assignment"]["assigned_partitions"]
            for each in found
        )

    def in_flight(self) -> int:
        """Return the number of messages that deliver has handed out and not committed."""
        return sum(int(self.metric(name, IN_FLIGHT)) for name in self._members["deliver"])

    def metric(self, name: str, metric: str) -> float:
        """Return a metric of a process on /metrics, summed over its labels."""
        url = self._line.endpoints.metrics[name]
        found = values_of(url, metric, _ASK_TIMEOUT_S)
        assert found, f"{name} shows no {metric}"
        return sum(found)

    def _put_down(self, name: str) -> None:
        self._stage.down.add(name)
        self._members[name.partition("-")[0]].remove(name)
