"""An Exim that accepts every message and routes only the domain of the bounce door.

So all other mail comes back to its envelope sender. The first of the two hosts of the domain does
not listen, like an MX that is down. To write a bounce, Exim starts itself as its own user. This
user may not enter the folder of the tools, so a copy of Exim is used. receiving_peers.py has an
Exim that receives mail.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from local.parts import ports
from tests.support.bounce_door import DOMAIN
from tests.support.receiving_peers import EXIM, NOBODY, Place, names_with, serving
from tools import foreign_programs

_CONFIG: Final = (
    EXIM
    + """\
exim_path = {exim}
deliver_drop_privilege = true
acl_smtp_rcpt = accept
acl_smtp_data = accept
begin acl
begin routers
door:
  driver = manualroute
  domains = {domain}
  transport = smtp
  route_list = * "127.0.0.1::{down} : 127.0.0.1::{door}"
  self = send
begin transports
smtp:
  driver = smtp
  allow_localhost = true
  tls_verify_certificates =
  tls_try_verify_hosts =
begin retry
* * F,2m,2s
"""
)


@contextmanager
def bouncing_exim(at: Place, door_port: int) -> Iterator[None]:
    """Run it on the port of the place, with the bounce door on its port."""
    unpacked = foreign_programs.fetch_packages(foreign_programs.EXIM)
    spool = at.folder / "spool"
    spool.mkdir()
    os.chown(spool, NOBODY, NOBODY)
    config = at.folder / "exim.conf"
    (down,) = ports.free_ports(1)
    exim = Path(shutil.copyfile(unpacked / "usr" / "sbin" / "exim4", at.folder / "exim4"))
    exim.chmod(0o755)  # a program that is set-uid ignores LD_PRELOAD
    wrapper = shutil.copy(next(unpacked.glob("usr/lib/*/libnss_wrapper.so")), at.folder)
    names = names_with("Debian-exim", at.folder) | {"LD_PRELOAD": str(wrapper)}
    # Exim removes these variables from the environment of the programs that it runs.
    again = at.folder / "again"
    again.write_text(
        "#!/bin/sh\nexport "
        + " ".join(f"{name}={value}" for name, value in names.items())
        + f'\nexec {exim} "$@"\n'
    )
    again.chmod(0o755)
    config.write_text(
        _CONFIG.format(
            exim=again, user=NOBODY, folder=at.folder, domain=DOMAIN, down=down, door=door_port
        )
    )
    command = [str(exim), "-C", str(config), "-bdf", "-q5s"]
    with serving([*command, "-oX", f"127.0.0.1.{at.port}"], at, **names):
        yield
