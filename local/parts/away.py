"""The one failure of a part: it is not there and could not be had or started."""

from __future__ import annotations


class PartAwayError(RuntimeError):
    """A part of the line is missing or does not start; the text says which, why and what to do.

    Commands print it as one line and end with exit code 3.
    """
