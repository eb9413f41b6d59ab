"""The ways in which a request cannot be answered, each with its sentence for the platform. Pure."""

from __future__ import annotations


class QueryFault(ValueError):
    """A parameter cannot be: the text names it, what was found and what is expected (400)."""


class NotFound(LookupError):
    """There is no such thing within the reach of the key (404)."""


class Conflict(Exception):
    """The state forbids the change (409)."""


class Busy(Exception):
    """As many as are allowed are running, or a part is too slow (503)."""
