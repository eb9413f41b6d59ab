"""Aligns the configs of intake topics, including topics that were created by hand.

If an intake topic has the time stamps of producers, retention may delete acknowledged mail while
the ingest service is down. So the configs of each topic are aligned soon after the topic appears. A
probe calls look() from one thread. If an ACL forbids a change of the configs, the ingest service
logs this once, and reads the topic with its present configs.
"""

from __future__ import annotations

import re
from typing import Final

from shared.settings.sections import KafkaSettings
from shared.stream.client import client_options, make_admin
from shared.stream.topic_configs import Wanted, align
from shared.topics.configs import Configs
from shared.topics.names import INTAKE_PATTERN, configs_of

_TIMEOUT_MS: Final = 5_000
_INTAKE: Final = re.compile(INTAKE_PATTERN)


class IntakeTopics:
    """Remembers the intake topics that were found so far, by their ids."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._options = client_options(kafka, "intake-topics")
        self._wanted = Wanted.of(kafka)
        self._seen: set[object] = set()

    def look(self) -> str:
        """Align the configs of the topics that were not found before, and return "". Raises
        KafkaError."""
        admin = make_admin(self._options, _TIMEOUT_MS, bootstrap_timeout_ms=_TIMEOUT_MS)
        try:
            found = {
                topic["name"]: topic["topic_id"]
                for topic in admin.describe_topics()
                if _INTAKE.match(topic["name"])
            }
            new: dict[str, Configs] = {}
            for name, topic_id in found.items():
                configs = configs_of(name)
                if topic_id not in self._seen and configs is not None:
                    new[name] = configs
            align(admin, new, self._wanted)
            self._seen.update(found[name] for name in new)
        finally:
            admin.close()
        return ""
