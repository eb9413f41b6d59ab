"""A Postfix for a test: a platform's relay, configured as in docs/examples/smtp/postfix.

Its configuration, queue and log are in a separate folder; the system's Postfix is not
changed. Settings outside the example (ports, folders, no DNS) are in _OWN. Only root can
start Postfix: it changes to its own user.
"""

from __future__ import annotations

import re
import shutil
import smtplib
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from local.parts import packages, ports
from tests.support.foreign_clients import HOST, adapted
from tests.support.front_door import DOMAIN, NAME, PASSWORD, SENDER, Door
from tests.support.patience import PATIENCE_S
from tests.support.smtp_peers import wait_until

_OWN: Final = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = {sbin}
daemon_directory = {libexec}
mail_owner = postfix
setgid_group = postdrop
maillog_file = {folder}/postfix.log
maillog_file_prefixes = {folder}
myhostname = relay.example
mydestination =
local_recipient_maps =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
disable_dns_lookups = yes
smtp_tls_security_level = may
smtp_tls_loglevel = 1
relayhost = [127.0.0.1]:{elsewhere}
transport_maps = inline:{{ {{ {pairs} = pairs:{door} }} }}
pairs_destination_recipient_limit = 50
"""
# A domain with two recipients per transaction, as with Postfix's default limit of 50.
PAIRS: Final = "pairs.example"

_UNIX: Final = {
    "cleanup": (0, "cleanup"),
    "qmgr": (1, "qmgr"),
    "rewrite": (0, "trivial-rewrite"),
    "bounce": (0, "bounce"),
    "defer": (0, "bounce"),
    "trace": (0, "bounce"),
    "smtp": (0, "smtp"),
    "pairs": (0, "smtp"),
    "error": (0, "error"),
    "retry": (0, "error"),
    "showq": (0, "showq"),
    "flush": (0, "flush"),
    "tlsmgr": (1, "tlsmgr"),
    "scache": (1, "scache"),
    "anvil": (1, "anvil"),
    "proxymap": (0, "proxymap"),
}


class Relay(Struct, frozen=True):
    """A running Postfix: its port for mail, its folder."""

    port: int
    folder: Path

    def log(self) -> str:
        path = self.folder / "postfix.log"
        return path.read_text() if path.exists() else ""

    def fates(self, recipient: str) -> list[str]:
        """Return the result of each attempt for a recipient: `sent (250 ...)`."""
        return re.findall(rf"to=<{re.escape(recipient)}>.* status=(.*)", self.log())

    def wait_for(self, recipient: str, fate: str, within_s: float = PATIENCE_S) -> str:
        """Return the first fate of that kind."""
        found: list[str] = []

        def is_there() -> bool:
            found[:] = [told for told in self.fates(recipient) if told.startswith(fate)]
            return bool(found)

        wait_until(is_there, f"the log of Postfix says {fate!r} about {recipient}", within_s)
        return found[0]

    def wait_for_retry(self, recipient: str, fate: str) -> str:
        """Return the first fate of that kind of a deferred message. The log shows the deferral
        before the message is in the deferred queue, so flush the queue until the next attempt."""

        def is_there() -> bool:
            self.flush()
            return any(told.startswith(fate) for told in self.fates(recipient))

        wait_until(is_there, f"the log of Postfix says {fate!r} about {recipient}")
        return self.wait_for(recipient, fate)

    def flush(self) -> None:
        """Try everything in the queue again."""
        command = [_program("postqueue"), "-c", str(self.folder / "conf"), "-f"]
        subprocess.run(command, check=True, timeout=PATIENCE_S)


@contextmanager
def running_relay(kept: Path, door: Door, elsewhere: int = 9) -> Iterator[Relay]:
    """Run a Postfix that sends mail of DOMAIN to the front door, other mail to port `elsewhere`.

    Its folder is outside the test's, which other users may not enter; its log is kept in `kept`.
    """
    with tempfile.TemporaryDirectory(prefix="sluice-relay-") as made:
        relay = Relay(ports.free_ports(1)[0], Path(made))
        relay.folder.chmod(0o755)
        for name in ("conf", "queue", "data"):
            (relay.folder / name).mkdir()
        shutil.chown(relay.folder / "data", "postfix")
        _configure(relay, door, elsewhere)
        postfix = [_program("postfix"), "-c", str(relay.folder / "conf")]
        start = subprocess.run(
            [*postfix, "start"], capture_output=True, check=False, timeout=PATIENCE_S
        )
        assert start.returncode == 0, f"{start.stderr.decode()}{relay.log()}"
        try:
            yield relay
        finally:
            subprocess.run([*postfix, "stop"], capture_output=True, check=True, timeout=PATIENCE_S)
            shutil.copy(relay.folder / "postfix.log", kept)


def inject(relay: Relay, content: bytes, *recipients: str, sender: str = SENDER) -> None:
    """Submit a message to the relay, in plain text and without a login, like a local program."""
    with smtplib.SMTP("127.0.0.1", relay.port, timeout=PATIENCE_S) as smtp:
        smtp.sendmail(sender, recipients, content)


def _configure(relay: Relay, door: Door, elsewhere: int) -> None:
    conf = relay.folder / "conf"
    shutil.copy(door.certificate, conf / "authority.pem")
    changes = {
        "smtp.sluice.example": HOST,
        ":587": f":{door.port}",
        "news.example.com": DOMAIN,
        "/etc/postfix/sluice_password": str(conf / "sluice_password"),
        "/etc/ssl/certs/ca-certificates.crt": str(conf / "authority.pem"),
    }
    own = _OWN.format(
        folder=relay.folder,
        sbin=Path(_program("postfix")).parent,
        libexec=_libexec(),
        elsewhere=elsewhere,
        pairs=PAIRS,
        door=f"[{HOST}]:{door.port}",
    )
    (conf / "main.cf").write_text(adapted("postfix/main.cf", changes) + own)
    login = {
        "[smtp.sluice.example]:587": f"[{HOST}]:{door.port}",
        "acme:the-password": f"{NAME}:{PASSWORD}",
    }
    (conf / "sluice_password").write_text(adapted("postfix/sluice_password", login))
    services = [
        f"{relay.port} inet n - n - - smtpd",
        "pickup unix n - n 60 1 pickup",
        "postlog unix-dgram n - n - 1 postlogd",
    ]
    for name, (most, program) in _UNIX.items():
        services.append(f"{name} unix {_privacy(name)} - n - {most} {program}")
    (conf / "master.cf").write_text("\n".join(services) + "\n")
    (conf / "dynamicmaps.cf").touch()
    shutil.copy(_shipped("postfix-files"), conf / "postfix-files")


def _privacy(name: str) -> str:
    return "n" if name in {"cleanup", "qmgr", "showq", "flush"} else "-"


def _program(name: str) -> str:
    found = packages.find_program(name)
    assert found is not None, f"{name} is missing: Debian's package postfix has it"
    return found


def _libexec() -> Path:
    asked = subprocess.run(
        [_program("postconf"), "-d", "-h", "daemon_directory"],
        capture_output=True,
        check=True,
        timeout=PATIENCE_S,
    )
    return Path(asked.stdout.decode().strip())


def _shipped(name: str) -> Path:
    places = [Path("/etc/postfix"), Path("/usr/share/postfix"), _libexec()]
    found = [path for folder in places for path in (folder / name, folder / f"{name}.dist")]
    return next(path for path in found if path.exists())
