"""Runs a target many times on inputs that are generated, mutated and combined, from one seed.

An input with a new outcome (broken rules, replies, ...) is kept and used for further inputs:
guidance by behaviour, which costs nothing and works on every Python. `guided.py` adds
guidance by coverage if atheris is installed.
"""

from __future__ import annotations

import hashlib
import resource
import time
from collections.abc import Callable, Hashable
from pathlib import Path
from random import Random
from typing import Final

from msgspec import Struct

from tests.fuzz.mutations import graft, mutate

MAX_INPUT_S: Final = 2.0  # CPU time; an input takes well under a millisecond
MAX_KEPT: Final = 4_000
_WARM_SHARE: Final = 10  # the growth is measured after this share of the runs

Check = Callable[[bytes], Hashable]


class Target(Struct, frozen=True):
    """A name, a generator of inputs, a check of an input."""

    name: str
    make: Callable[[Random], bytes]
    check: Check


class Report(Struct, frozen=True):
    """The result of a slice. Memory: the resident set of the process, in KB."""

    target: str
    engine: str
    runs: int
    seed: int
    outcomes: int
    kept: int
    seconds: float
    slowest_ms: float
    rss_warm_kb: int
    rss_end_kb: int
    failures: int


class Failure(Struct, frozen=True):
    """An input for which a property does not hold."""

    content: bytes
    error: Exception


def check_one(target: Target, content: bytes) -> tuple[Hashable, float]:
    """Return the outcome and the CPU seconds; raises the target's errors, and one for slowness."""
    begun = time.process_time()
    outcome = target.check(content)
    taken = time.process_time() - begun
    assert taken < MAX_INPUT_S, f"it took {taken:.1f} s"
    return outcome, taken


def run(target: Target, runs: int, seed: int, corpus: Path | None) -> tuple[Report, list[Failure]]:
    """Run a slice; inputs with new outcomes are read from and written to `corpus`."""
    random, begun = Random(f"{target.name} {seed}"), time.monotonic()
    kept = load(corpus)
    seen: set[Hashable] = {target.check(content) for content in kept}
    failures: list[Failure] = []
    slowest, warm = 0.0, 0
    for number in range(runs):
        if number == runs // _WARM_SHARE:
            warm = rss_kb()
        content = _next(target, kept, random)
        try:
            outcome, taken = check_one(target, content)
        except Exception as error:
            failures.append(Failure(content, error))
            if len(failures) >= 10:
                break
            continue
        slowest = max(slowest, taken)
        if outcome not in seen and len(kept) < MAX_KEPT:
            seen.add(outcome)
            kept.append(content)
            save(corpus, content)
    return Report(
        target=target.name,
        engine="own",
        runs=runs,
        seed=seed,
        outcomes=len(seen),
        kept=len(kept),
        seconds=round(time.monotonic() - begun, 1),
        slowest_ms=round(slowest * 1_000, 1),
        rss_warm_kb=warm,
        rss_end_kb=rss_kb(),
        failures=len(failures),
    ), failures


def _next(target: Target, kept: list[bytes], random: Random) -> bytes:
    choice = random.random()
    if not kept or choice < 0.4:
        return target.make(random)
    if choice < 0.6:
        return mutate(target.make(random), random)
    if choice < 0.9:
        return mutate(random.choice(kept), random)
    return graft(random.choice(kept), kept, random)


def rss_kb() -> int:
    """The current resident set; its peak if the system does not report it."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def load(corpus: Path | None) -> list[bytes]:
    """Return the inputs kept by earlier slices."""
    if corpus is None or not corpus.is_dir():
        return []
    return [path.read_bytes() for path in sorted(corpus.iterdir()) if path.is_file()][:MAX_KEPT]


def save(corpus: Path | None, content: bytes) -> None:
    """Keep an input for later slices, named by the hash of its bytes."""
    if corpus is not None:
        corpus.mkdir(parents=True, exist_ok=True)
        (corpus / hashlib.sha256(content).hexdigest()[:20]).write_bytes(content)
