"""Sends requests to each address of each URL until all answer 200. Arguments: `SECONDS URL...`.

The exit code is 1 if an address does not answer 200 in time. The host of a URL is a headless
Service, which has an address for each process. All addresses are asked at the same time. After
SECONDS, an answer may still take ten seconds. The pod is ended thirty seconds after SECONDS, so the
answers are printed in time, even if the name server or a process hangs.
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
# Look-ups of addresses and requests to these addresses may still run for this time after SECONDS.
LOOK_UP_S, ASK_S = 5.0, 10.0
AT_ONCE = 64


def addressed(url: str) -> list[str]:
    """Return the URL once for each address of its host, or unchanged if the host has no address."""
    parts = urlsplit(url)
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
    except OSError:
        return [url]
    hosts = sorted({f"[{each[4][0]}]" if ":" in each[4][0] else each[4][0] for each in found})
    return [urlunsplit(parts._replace(netloc=f"{host}:{parts.port}")) for host in hosts]


def ask(url: str) -> str:
    """Return "ready" if the process is ready, otherwise its answer or the fault, in one line."""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_TIMEOUT_S) as answer:
            return "ready" if answer.status == 200 else f"status {answer.status}"
    except urllib.error.HTTPError as error:
        return f"status {error.code}: {error.read(2000).decode(errors='replace').strip()}"
    except OSError as error:
        return str(error)


def gather(pool, job, urls, until):
    """Return the results of the job by URL, without URLs whose job has not ended at `until`."""
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
        # Addresses are looked up each time, because processes may start while others are asked.
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
    # An ordinary exit would wait for all threads, and one of them may hang in a look-up.
    os._exit(status)
