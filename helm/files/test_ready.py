"""Asks each URL until all answer 200: `SECONDS URL...`. Exits with 1 if one does not in time."""

import sys
import time
import urllib.error
import urllib.request

PAUSE_S = 2.0
ANSWER_TIMEOUT_S = 5.0


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
        faults = {url: fault for url in urls if (fault := ask(url))}
        if not faults or time.monotonic() > ends:
            break
        time.sleep(PAUSE_S)
    for url in urls:
        print(url, faults.get(url, "ready"))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
