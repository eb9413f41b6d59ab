"""Manual fuzzing: `python -m tests.fuzz headers --runs 100000 --seed 1 --corpus FOLDER`.

Prints a report, and each failing input as a Python literal. Exit codes: 0 no failure, 1 a
property does not hold, 2 usage error. The corpus is kept between slices, outside the repository.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path

import msgspec

from tests.fuzz import guided

NAMES = ("headers", "addresses", "sessions", "answers", "records")


def main() -> int:
    """Run one slice of one target."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=NAMES)
    parser.add_argument("--runs", type=int, default=10_000, help="inputs to try")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="folder of inputs kept between slices")
    parser.add_argument("--engine", choices=("own", "atheris"), default="own")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error(f"--runs must be 1 or more, not {options.runs}")
    if options.engine == "atheris":
        if not guided.is_available():
            parser.error("--engine atheris needs atheris: pip install atheris, or leave it out")
        guided.run(options.target, options.runs, options.seed, options.corpus)
    from tests.fuzz import engine
    from tests.fuzz.targets import TARGETS

    report, failures = engine.run(
        TARGETS[options.target], options.runs, options.seed, options.corpus
    )
    for failure in failures:
        print(f"FAILED {failure.content!r}", file=sys.stderr)
        traceback.print_exception(failure.error, file=sys.stderr)
    if options.json:
        print(msgspec.json.encode(report).decode())
    else:
        print(
            ", ".join(f"{name} {value}" for name, value in msgspec.structs.asdict(report).items())
        )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
