"""Errors that end a command or make a service wait: unavailable parts and usage errors."""

from __future__ import annotations


class Unavailable(RuntimeError):
    """A required part (Kafka, Redis, the pipeline) cannot be reached; the text gives the reason.

    Services wait and try again. Commands print the text as one line and end with exit code 3.
    """


class PartUnavailable(Unavailable):
    """A part at a known address does not answer."""

    def __init__(self, part: str, where: str, reason: str = "no answer") -> None:
        super().__init__(f"{part} at {where} is unavailable: {reason}")


class UsageError(Exception):
    """The command cannot be carried out as requested; the text gives the reason."""


class PartNotStarted(Unavailable):
    """A part of the pipeline is missing or does not start; the text says which, why and a fix."""
