"""Measures Postfix as the peer of the end-to-end benchmark: smtp-source | postfix | smtp-sink.

The module runs a separate Postfix with its own configuration, ports and queue folder. The system's
Postfix is not changed. The module measures the time from the first submission until the last
message is at the sink. All messages have the same size. One run has the queue on disk, and another
run has the queue in RAM.

The settings are chosen to be fair to Postfix. There is no chroot and no DNS. There are at most 50
simultaneous deliveries to the only relay (20 from the start) and at most 100 processes per service.
There are no client limits and no pauses for a full queue (in_flow_delay 0). Postfix still syncs its
queue files, by design.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from bench import smtp_sink
from bench.smtp_sink import PeerError, SmtpSink, program

_SESSIONS: Final = 20
_WARM_UP: Final = 200
_RUN_TIMEOUT_S: Final = 900.0
_STOP_TIMEOUT_S: Final = 30.0

_MAIN_CF: Final = """\
compatibility_level = 3.6
queue_directory = {queue}
command_directory = {sbin}
daemon_directory = {libexec}
data_directory = {data}
mail_owner = postfix
setgid_group = postdrop
myhostname = bench.example
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:{sink_port}
smtpd_recipient_restrictions = permit_mynetworks,reject
maillog_file = {log}
maillog_file_prefixes = {log_folder}
smtp_destination_concurrency_limit = 50
default_destination_concurrency_limit = 50
initial_destination_concurrency = 20
default_process_limit = 100
disable_dns_lookups = yes
smtpd_client_connection_count_limit = 0
smtpd_error_sleep_time = 0
in_flow_delay = 0
"""


class PeerRun(Struct, frozen=True):
    """One measured run. `queue` is `disk` or `ram`. The rate is from the first to the last
    message."""

    queue: str
    messages: int
    seconds: float
    messages_per_s: float


def install() -> None:
    """Install Postfix with apt, without a configuration for the system. This needs root."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise PeerError("installing Postfix needs root and apt-get")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    preseed = "postfix postfix/main_mailer_type select No configuration\n"
    subprocess.run(["debconf-set-selections"], input=preseed.encode(), check=True)
    command = ["apt-get", "install", "-y", "--no-install-recommends", "postfix"]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def require(may_install: bool) -> None:
    """Raise PeerError if Postfix cannot be run. If it is missing and `may_install` is set, install
    it."""
    if os.geteuid() != 0:
        raise PeerError("Postfix can only be started by root (or measure with --no-peer)")
    try:
        program("postfix")
    except PeerError:
        if not may_install:
            raise
        install()


def version() -> str:
    """Return the name of Postfix with its version."""
    asked = subprocess.run(
        [program("postconf"), "-d", "-h", "mail_version"], capture_output=True, check=True
    )
    return f"Postfix {asked.stdout.decode().strip()}"


def measure(folder: Path, queue: str, messages: int, size_bytes: int, milter: str = "") -> PeerRun:
    """Run the peer once with its queue under `folder`. `queue` is the name of the run (disk, ram).

    `milter` is the address of a milter that processes each message.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Postfix's own user must be able to enter every folder above the queue.
    folder.chmod(0o755)
    with smtp_sink.running(folder) as sink, _postfix(folder, sink, milter) as port:
        _hand_in(port, _WARM_UP, size_bytes)
        sink.wait_for(_WARM_UP, _RUN_TIMEOUT_S)
        started = time.time()
        _hand_in(port, messages, size_bytes)
        seconds = sink.wait_for(_WARM_UP + messages, _RUN_TIMEOUT_S) - started
    return PeerRun(queue, messages, round(seconds, 2), round(messages / seconds, 1))


def _hand_in(port: int, messages: int, size_bytes: int) -> None:
    # With -d each session is used for many messages, which is faster.
    subprocess.run(
        [
            *(program("smtp-source"), "-d", "-s", str(_SESSIONS), "-m", str(messages)),
            *("-l", str(size_bytes), "-f", "news@bench.example.com", "-t", "ok@r.example.net"),
            f"127.0.0.1:{port}",
        ],
        check=True,
        timeout=_RUN_TIMEOUT_S,
    )


@contextmanager
def _postfix(folder: Path, sink: SmtpSink, milter: str) -> Iterator[int]:
    config = folder / "conf"
    port = smtp_sink.free_port()
    _write_configuration(folder, config, sink, port)
    if milter:
        with (config / "main.cf").open("a") as file:
            file.write(f"smtpd_milters = {milter}\n")
    postfix = program("postfix")
    start = subprocess.run([postfix, "-c", str(config), "start"], capture_output=True, check=False)
    if start.returncode != 0:
        raise PeerError(f"postfix did not start: {start.stderr.decode().strip()[-300:]}")
    try:
        yield port
    finally:
        subprocess.run(
            [postfix, "-c", str(config), "stop"],
            capture_output=True,
            timeout=_STOP_TIMEOUT_S,
            check=False,
        )


def _write_configuration(folder: Path, config: Path, sink: SmtpSink, port: int) -> None:
    queue, data, log = folder / "queue", folder / "data", folder / "postfix.log"
    for path in (config, queue, data):
        path.mkdir(parents=True)
    shutil.chown(data, "postfix")
    sbin = Path(program("postfix")).parent
    values = {
        "queue": queue,
        "sbin": sbin,
        "libexec": _daemon_folder(),
        "data": data,
        "sink_port": sink.address.rpartition(":")[2],
        "log": log,
        "log_folder": folder,
    }
    (config / "main.cf").write_text(_MAIN_CF.format(**values))
    (config / "master.cf").write_text(_master(port))
    (config / "dynamicmaps.cf").touch()
    shutil.copy(_installed("postfix-files"), config)


def _daemon_folder() -> Path:
    for candidate in ("/usr/lib/postfix/sbin", "/usr/libexec/postfix", "/usr/lib/postfix"):
        if (Path(candidate) / "master").exists():
            return Path(candidate)
    raise PeerError("Postfix's daemons were not found")


def _installed(name: str) -> Path:
    for folder in ("/etc/postfix", "/usr/share/postfix", "/usr/libexec/postfix"):
        for candidate in (Path(folder) / name, Path(folder) / f"{name}.dist"):
            if candidate.exists():
                return candidate
    raise PeerError(f"Postfix's {name} was not found")


def _master(port: int) -> str:
    """Return the distribution's master.cf, with our port for smtpd and without chroot."""
    text = _installed("master.cf").read_text()
    smtpd = f"{port}     inet  n       -       n       -       -       smtpd"
    text = re.sub(r"(?m)^smtp      inet .*$", smtpd, text)
    return re.sub(r"(?m)^([a-z0-9-]+ +(?:inet|unix) +\S+ +\S+ +)y", r"\1n", text)
