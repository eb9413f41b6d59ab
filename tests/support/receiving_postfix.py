"""A Postfix that receives, like the servers of receiving_peers.py."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from local.parts import packages, ports
from tests.support.receiving_peers import DOMAIN, KNOWN, NOBODY, Peer, Place, found_in
from tests.support.smtp_peers import wait_until

_POSTFIX: Final = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = {sbin}
daemon_directory = {libexec}
mail_owner = postfix
setgid_group = postdrop
maillog_file = {folder}/postfix.log
maillog_file_prefixes = {folder}
myhostname = postfix.example
mydestination =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks =
disable_dns_lookups = yes
smtpd_peername_lookup = no
smtpd_recipient_restrictions = reject_unauth_destination
smtpd_tls_security_level = {level}
smtpd_tls_chain_files = {key} {certificate}
virtual_mailbox_domains = d.example
virtual_mailbox_maps = inline:{{ {boxes} }}
virtual_mailbox_base = {folder}/kept
virtual_uid_maps = static:{nobody}
virtual_gid_maps = static:{nobody}
virtual_minimum_uid = 1
"""
_SERVICES: Final = """\
{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n - 1 qmgr
rewrite unix - - n - 0 trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
virtual unix - n n - 0 virtual
error unix - - n - 0 error
retry unix - - n - 0 error
tlsmgr unix - - n - 1 tlsmgr
anvil unix - - n - 1 anvil
proxymap unix - - n - 0 proxymap
postlog unix-dgram n - n - 1 postlogd
"""


@contextmanager
def postfix(at: Place) -> Iterator[Peer]:
    """Yield a Postfix that delivers into maildirs."""
    conf, kept = at.folder / "conf", at.folder / "kept"
    for name in ("conf", "queue", "data", "kept"):
        (at.folder / name).mkdir()
    shutil.chown(at.folder / "data", "postfix")
    os.chown(kept, NOBODY, NOBODY)
    sbin = Path(str(packages.find_program("postfix"))).parent
    asked = subprocess.run(
        [sbin / "postconf", "-d", "-h", "daemon_directory"], capture_output=True, check=True
    )
    libexec = Path(asked.stdout.decode().strip())
    (conf / "main.cf").write_text(
        _POSTFIX.format(
            folder=at.folder,
            sbin=sbin,
            libexec=libexec,
            level="may" if at.certificate else "none",
            certificate=at.certificate,
            key=at.key,
            boxes=", ".join(f"{{{name}@{DOMAIN} = {name}/}}" for name in KNOWN),
            nobody=NOBODY,
        )
    )
    (conf / "master.cf").write_text(_SERVICES.format(port=at.port))
    (conf / "dynamicmaps.cf").touch()
    places = [Path("/etc/postfix"), Path("/usr/share/postfix"), libexec]
    shipped = [
        folder / name for folder in places for name in ("postfix-files", "postfix-files.dist")
    ]
    shutil.copy(next(path for path in shipped if path.exists()), conf / "postfix-files")
    command = [str(sbin / "postfix"), "-c", str(conf)]
    start = subprocess.run([*command, "start"], capture_output=True, check=False, timeout=60)
    assert start.returncode == 0, start.stderr.decode()
    try:
        wait_until(lambda: not ports.is_free(at.port), "Postfix listens")
        yield Peer(f"127.0.0.1:{at.port}", lambda name: found_in(list(kept.glob(f"{name}/new/*"))))
    finally:
        subprocess.run([*command, "stop"], capture_output=True, check=True, timeout=60)
