"""Ends a measurement in good order when something is missing or somebody asks for it.

Without it, `timeout` and a closed terminal would end the benchmark at once and leave its sinks and
brokers running, which slow down whatever is measured next.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

from bench.smtp_sink import PeerError
from cli.interrupt import StopAskedError, interruptible
from local.parts.unavailable import PartNotStarted
from shared.runtime.exits import Exit

T = TypeVar("T")


def measured(measure: Callable[[], T]) -> T:
    """Measure; end the process if a part or a peer cannot be started, or on SIGINT, SIGTERM or
    SIGHUP after what was started has been ended."""
    try:
        with interruptible():
            return measure()
    except (PeerError, PartNotStarted) as error:
        print(f"sluice: {error}", file=sys.stderr)
        sys.exit(Exit.PART_UNAVAILABLE)
    except StopAskedError:
        print("sluice: interrupted; nothing is left running", file=sys.stderr)
        sys.exit(Exit.INTERRUPTED)
