"""Finds uv or installs it, and runs the steps of a set-up.

Owns: `.sluice/boot`, the calls of the system's package manager, and the settings that uv and pip
get from the operator's environment. This module uses only the standard library.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from launcher.commands import ROOT

STATE: Final = ROOT / ".sluice"
# Version 0.5 introduced `uv export` and the dependency groups that are used here.
UV_MIN_VERSION: Final = (0, 5)
# apt waits this long for a lock that another package manager holds. For example, a new cloud
# machine updates itself.
APT_LOCK_WAIT_S: Final = 180
# Texts of uv (rustls) and pip (OpenSSL) about a certificate that is not trusted.
TLS_FAULT: Final = re.compile(
    r"certificate[ _]verify[ _]failed|invalid peer certificate|UnknownIssuer"
    r"|self[- ]signed certificate|unable to get (?:local )?issuer certificate"
    r"|SSLCertVerificationError",
    re.IGNORECASE,
)
# Only this many lines at the end of a step's output are searched for TLS_FAULT.
TAIL_LINES: Final = 200
# Variables with these names in an operator's environment would make uv work outside of .venv.
FOREIGN_SETTINGS: Final = ("VIRTUAL_ENV", "CONDA_PREFIX", "UV_PROJECT_ENVIRONMENT", "UV_PYTHON")


class UnavailableError(Exception):
    """A program or file that the launcher needs is missing and cannot be installed.

    The text is one line.
    """


def say(text: str) -> None:
    """Print a message for people, on standard error."""
    print(f"sluice: {text}", file=sys.stderr, flush=True)


def tool_environment(environ: dict[str, str]) -> dict[str, str]:
    """Return the environment for uv, with the operator's pip mirror and certificates."""
    made = {name: value for name, value in environ.items() if name not in FOREIGN_SETTINGS}
    if "PIP_INDEX_URL" in made:
        made.setdefault("UV_DEFAULT_INDEX", made["PIP_INDEX_URL"])
    if "PIP_CERT" in made:
        made.setdefault("SSL_CERT_FILE", made["PIP_CERT"])
    elif "SSL_CERT_FILE" in made:
        made["PIP_CERT"] = made["SSL_CERT_FILE"]
    return made


def tls_hint(output: str, environ: dict[str, str]) -> str:
    """Return advice if a download failed because a certificate is not trusted; "" otherwise.

    A typical reason is a company's proxy that inspects TLS: neither uv nor pip knows the CA of the
    proxy.
    """
    if TLS_FAULT.search(output) is None:
        return ""
    ca_file = tool_environment(environ).get("SSL_CERT_FILE", "")
    if ca_file and not Path(ca_file).is_file():
        return (
            f"SSL_CERT_FILE is {ca_file}, which is not a file: set it to the PEM file of your CAs"
        )
    used = f" (SSL_CERT_FILE is {ca_file}; it may lack that CA)" if ca_file else ""
    return (
        f"a certificate is not trusted{used}. Behind a proxy that has its own CA, set"
        " SSL_CERT_FILE or PIP_CERT to a PEM file with that CA (uv and pip use either), or, for"
        " uv, UV_NATIVE_TLS=true (--native-tls) if the system trusts it; then try again"
    )


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Report a step of a set-up, and the seconds that it took."""
    say(what)
    began = time.monotonic()
    yield
    say(f"{what}: done in {time.monotonic() - began:.0f} s")


def run(command: Sequence[str | Path], what: str) -> None:
    """Run and report a step of a set-up, with its output on standard error.

    Raises UnavailableError if the step fails.
    """
    with step(what):
        _run(command, what)


def _run(command: Sequence[str | Path], what: str) -> None:
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    environ = tool_environment(dict(os.environ))
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as step:
        for line in step.stdout or ():
            sys.stderr.write(line)
            sys.stderr.flush()
            tail.append(line)
    if step.returncode != 0:
        reason = f"{what} failed (exit code {step.returncode}); the lines above say why"
        hint = tls_hint("".join(tail), environ)
        raise UnavailableError(f"{reason}: {hint}" if hint else reason)


def run_quietly(command: Sequence[str], log: Path, what: str) -> None:
    """Run a step and write its output to a log file, because the output is long."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False
        )
    if done.returncode != 0:
        raise UnavailableError(f"{what} failed; see {log.relative_to(ROOT)}")


def root_prefix() -> list[str] | None:
    """Return the prefix of a command that needs root: [] or sudo; None if root is not available."""
    if os.geteuid() == 0:
        return []
    sudo = ["sudo", "-n"]
    if shutil.which("sudo") is None:
        return None
    asked = subprocess.run([*sudo, "true"], check=False, capture_output=True)
    return sudo if asked.returncode == 0 else None


def install_venv_module() -> None:
    """Install ensurepip, which Debian and Ubuntu have in a separate package."""
    package = "python3-venv"
    # A Python other than the system's python3 has its own package, such as python3.12-venv.
    if Path(sys.executable).resolve() != Path("/usr/bin/python3").resolve():
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    prefix = root_prefix() if shutil.which("apt-get") else None
    if prefix is None:
        raise UnavailableError(
            f"this Python has no ensurepip: install {package} (or uv), then try again"
        )
    # sudo clears the environment, so DEBIAN_FRONTEND is set in the command after sudo.
    apt = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]
    apt += ["-o", f"DPkg::Lock::Timeout={APT_LOCK_WAIT_S}"]
    log = STATE / "apt.log"
    with step(f"installing {package} with apt"):
        run_quietly([*apt, "update"], log, "apt-get update")
        install = [*apt, "install", "--no-install-recommends", package]
        run_quietly(install, log, f"installing {package}")


def uv_version(uv: str) -> tuple[int, ...]:
    """Return the version of this uv; () if it cannot be run."""
    try:
        done = subprocess.run([uv, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return ()
    found = re.search(r"(\d+)\.(\d+)", done.stdout)
    return tuple(int(number) for number in found.groups()) if found else ()


def find_uv() -> str:
    """Return the path of uv, from the PATH or from .sluice/boot; install it there if necessary."""
    on_path = shutil.which("uv")
    if on_path and uv_version(on_path) >= UV_MIN_VERSION:
        return on_path
    boot = STATE / "boot"
    own = boot / "bin" / "uv"
    if uv_version(str(own)) >= UV_MIN_VERSION:
        return str(own)
    if importlib.util.find_spec("ensurepip") is None:
        install_venv_module()
    shutil.rmtree(boot, ignore_errors=True)
    run([sys.executable, "-m", "venv", boot], "making a virtual environment for uv")
    pip: list[str | Path] = [
        boot / "bin" / "python",
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "-q",
    ]
    run([*pip, "uv"], "installing uv with pip")
    return str(own)
