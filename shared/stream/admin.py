"""Creates missing topics, and aligns the configs of existing topics with their plan."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from kafka import KafkaAdminClient
from kafka.admin import NewTopic
from kafka.errors import KafkaError, NoError, TopicAlreadyExistsError, for_code

from shared.runtime.clock import monotonic
from shared.runtime.lifecycle import Stop
from shared.settings.sections import KafkaSettings
from shared.stream.client import BOOTSTRAP_MS, ClientOptions, client_options, make_admin
from shared.stream.topic_configs import Wanted, align
from shared.topics.names import TopicPlan

log = logging.getLogger(__name__)

ADMIN_TIMEOUT_MS: Final = 30_000
_SETTLE_TIMEOUT_S: Final = 20.0
_SETTLE_STEP_S: Final = 0.05
_RETRY_S: Final = 1.0


class TopicError(RuntimeError):
    """A topic could not be created or has no leader. The text contains the topic and the reason."""


def ensure_topics(
    kafka: KafkaSettings,
    plans: Iterable[TopicPlan],
    options: ClientOptions | None = None,
    *,
    aligned: bool = True,
) -> list[str]:
    """Create missing topics, wait until they have leaders, and align the existing topics.

    `options` are the client options of the process. If `options` is None, they are built from
    `kafka`. Returns the names of the created topics. Several processes may call this function at
    the same time. Raises TopicError, or kafka.errors.KafkaError when the brokers are unavailable.
    """
    wanted = list(plans)
    admin = make_admin(
        options or client_options(kafka, "topics"),
        ADMIN_TIMEOUT_MS,
        bootstrap_timeout_ms=BOOTSTRAP_MS,
    )
    try:
        existing = set(admin.list_topics())
        missing = [plan for plan in wanted if plan.name not in existing]
        if missing:
            _create(admin, missing, kafka)
            _wait_for_leaders(admin, [plan.name for plan in missing])
        if aligned:
            planned = [plan for plan in wanted if plan.configs and plan.name in existing]
            align(admin, {plan.name: plan.configs for plan in planned}, Wanted.of(kafka))
        return [plan.name for plan in missing]
    finally:
        admin.close()


def ensure_topics_until(
    stop: Stop,
    kafka: KafkaSettings,
    plans: Iterable[TopicPlan],
    options: ClientOptions,
    report: Callable[[str], None],
) -> bool:
    """Retry ensure_topics() until Kafka answers. Return False if `stop` was set first.

    After each failed attempt, `report` is called with the reason.
    """
    wanted = list(plans)
    while not stop.is_set():
        try:
            created = ensure_topics(kafka, wanted, options)
        except (KafkaError, TopicError) as error:
            log.warning("waiting for Kafka at %s: %s", kafka.bootstrap, error)
            report(f"no broker can be used at {kafka.bootstrap}: {error}")
            stop.wait(_RETRY_S)
            continue
        if created:
            log.info("created topics: %s", " ".join(created))
        return True
    return False


def _create(admin: KafkaAdminClient, plans: Sequence[TopicPlan], kafka: KafkaSettings) -> None:
    """Create the topics. If some cannot be created, raise TopicError for the first of them.

    One request contains all topics, because it takes only as long as a request for one topic. The
    topics that can be created are created even if TopicError is raised.
    """
    wanted = Wanted.of(kafka)
    topics = [
        NewTopic(
            name=plan.name,
            num_partitions=plan.partitions,
            replication_factor=kafka.replication,
            topic_configs=wanted.configs(plan.name, plan.configs, kafka.replication),
        )
        for plan in plans
    ]
    try:
        answer = admin.create_topics(topics, raise_errors=False)
    except (KafkaError, RuntimeError) as error:
        # A RuntimeError means that two brokers, one after the other, answered that they are not the
        # controller.
        raise TopicError(f"topics could not be created: {error}") from error
    for topic in answer["topics"]:
        fault = for_code(topic["error_code"])
        if fault not in (NoError, TopicAlreadyExistsError):
            reason = f"{fault.__name__}: {topic['error_message']}"
            raise TopicError(f"topic {topic['name']} could not be created: {reason}")


def _wait_for_leaders(admin: KafkaAdminClient, names: list[str]) -> None:
    deadline = monotonic() + _SETTLE_TIMEOUT_S
    while True:
        described = admin.describe_topics(names)
        waiting = [
            topic["name"]
            for topic in described
            if topic["error_code"]
            or not topic["partitions"]
            or any(partition["leader_id"] < 0 for partition in topic["partitions"])
        ]
        if not waiting:
            return
        if monotonic() > deadline:
            raise TopicError(f"topics without a leader after creation: {', '.join(waiting)}")
        time.sleep(_SETTLE_STEP_S)
