"""Asks each address of each URL until all answer 200: `SECONDS URL...`. Exits with 1 otherwise.

The host of a URL is a headless Service, which has an address for each process.
"""

import socket
import sys
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit, urlunsplit

PAUSE_S = 2.0
ANSWER_TIMEOUT_S = 5.0


def addressed(url: str) -> list[str]:
    """Return the URL with each address of its host; with the host itself if it has none."""
    parts = urlsplit(url)
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
    except OSError:
        return [url]
    hosts = sorted({f"[{each[4][0]}]" if ":" in each[4][0] else each[4][0] for each in found})
    return [urlunsplit(parts._replace(netloc=f"{host}:{parts.port}")) for host in hosts]


def ask(url: str) -> str:
    """Return "" if the process is ready, otherwise its answer or the fault, in one line."""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_TIMEOUT_S) as answer:
            return "" if answer.status == 200 else f"status {answer.status}"
    except urllib.error.HTTPError as error:
        return f"status {error.code}: {error.read(2000).decode(errors='replace').strip()}"
    except OSError as error:
        return str(error)


def main(seconds: float, urls: list[str]) -> int:
    ends = time.monotonic() + seconds
    while True:
        # Anew each time: processes come while others are asked.
        asked = [(url, each) for url in urls for each in addressed(url)]
        faults = {each: fault for _, each in asked if (fault := ask(each))}
        if not faults or time.monotonic() > ends:
            break
        time.sleep(PAUSE_S)
    for url, each in asked:
        print(url, each, faults.get(each, "ready"))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
