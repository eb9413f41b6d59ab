"""A part of the local pipeline could not be installed or started."""

from __future__ import annotations

from shared.runtime.errors import Unavailable


class PartNotStarted(Unavailable):
    """A part of the pipeline is missing or does not start; the text says which, why and a fix."""
