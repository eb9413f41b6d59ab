"""Asks each address of each URL until all answer 200: `SECONDS URL...`. Exits with 1 otherwise.

The host of a URL is a headless Service, which has an address for each process. All are asked at
once, and after SECONDS an answer has ten seconds more: the pod is ended thirty seconds after
SECONDS, also while the name server or a process hangs, and the answers are printed before that.
"""

import os
import socket
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor, wait
from urllib.parse import urlsplit, urlunsplit

PAUSE_S = 2.0
ANSWER_TIMEOUT_S = 5.0
# After SECONDS: until then addresses are looked up, and until then they are asked.
LOOK_UP_S, ASK_S = 5.0, 10.0
AT_ONCE = 64


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
    """Return "ready" if the process is, otherwise its answer or the fault, in one line."""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_TIMEOUT_S) as answer:
            return "ready" if answer.status == 200 else f"status {answer.status}"
    except urllib.error.HTTPError as error:
        return f"status {error.code}: {error.read(2000).decode(errors='replace').strip()}"
    except OSError as error:
        return str(error)


def gather(pool, job, urls, until):
    """Return by URL what the job returns for each; without those that take longer."""
    running = {pool.submit(job, url): url for url in dict.fromkeys(urls)}
    done, late = wait(running, max(0.0, until - time.monotonic()))
    for each in late:
        each.cancel()
    return {running[each]: each.result() for each in done}


def main(seconds: float, urls: list[str]) -> int:
    ends = time.monotonic() + seconds
    pool = ThreadPoolExecutor(AT_ONCE)
    known = {}
    while True:
        # Each time, as processes come while others are asked.
        found = gather(pool, addressed, urls, ends + LOOK_UP_S)
        places = [(url, each) for url in urls for each in found.get(url, [url])]
        answers = gather(pool, ask, [each for _, each in places], ends + ASK_S)
        known |= answers
        ready = all(answers.get(each) == "ready" for _, each in places)
        if ready or time.monotonic() > ends:
            break
        time.sleep(PAUSE_S)
    pool.shutdown(wait=False, cancel_futures=True)
    for url, each in places:
        print(url, each, known.get(each, "no answer"))
    return 0 if ready else 1


if __name__ == "__main__":
    status = main(float(sys.argv[1]), sys.argv[2:])
    sys.stdout.flush()
    # An ordinary exit would wait for the threads, of which one may hang in a look-up.
    os._exit(status)
