"""A worker that reads returned mail, with separate topics."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial

from kafka.structs import OffsetAndMetadata, TopicPartition
from msgspec import Struct

from services.validate.core.lanes import Lanes
from services.validate.core.returns.identity import Verification
from services.validate.core.returns.windows import Policy, Window
from services.validate.edge.returns.metrics import register_metrics
from services.validate.edge.returns.processor import Answer, ReturnsProcessor, Tools
from services.validate.edge.returns.worker import ReturnsWorker, WindowLog, WorkerParts
from shared.audit.returned_log import ReturnedTopics
from shared.registry.client import Client
from shared.runtime.clock import Clock, SystemClock
from shared.runtime.failpoints import Failpoints
from shared.runtime.lifecycle import Stop
from shared.runtime.telemetry import Counters
from shared.settings.sections import KafkaSettings
from shared.stream.admin import ensure_topics
from shared.stream.client import ClientOptions, make_consumer, make_producer
from shared.stream.consumer import Record, StreamConsumer
from shared.stream.log_reader import LogReader
from shared.stream.transactions import Output, TransactionalProducer
from shared.stream.watchdog import Watchdog
from shared.topics import names
from shared.topics.codec import decode_event, decode_pack, encode_event, encode_returned
from shared.topics.names import TopicPlan
from shared.topics.records import Event, Message, Returned
from tests.support.patience import PATIENCE_S
from tests.support.response_rules import RULES
from tests.support.returned_mail import KEYS, SHOP

NEVER = Failpoints.none()
PARTITIONS = 4
LANE = names.outbound("default")


class Registry:
    """A registry with a few clients, to which all returned mail is forwarded."""

    def __init__(self, *clients: Client) -> None:
        self._clients = {each.name: each for each in clients or (SHOP,)}

    def get(self, name: str) -> Client | None:
        return self._clients.get(name)

    def by_domain(self, domain: str) -> Client | None:
        found = (each for each in self._clients.values() if each.sending_domain == domain)
        return next(found, None)

    def refresh(self, timeout_s: float) -> bool:
        return True

    def ready(self) -> bool:
        return True


class Renamed:
    """Writes to the topics of the test."""

    def __init__(self, stem: str, processor: ReturnsProcessor) -> None:
        self._stem = stem
        self._processor = processor

    def process(self, records: Sequence[Record], windows: Mapping[bytes, Window]) -> Answer:
        return self._renamed(self._processor.process(records, windows))

    def due(self, windows: Mapping[bytes, Window], partitions: Collection[int]) -> Answer | None:
        found = self._processor.due(windows, partitions)
        return self._renamed(found) if found is not None else None

    def _renamed(self, answer: Answer) -> Answer:
        named = [each._replace(topic=f"{self._stem}.{each.topic}") for each in answer.outputs]
        return Answer(named, answer.windows)


class ReturnsBench(Struct, frozen=True):
    """The topics and the group of one test; without a stem, the topics of a pipeline."""

    bootstrap: str
    stem: str
    client: Client = SHOP
    policy: Policy = Policy(1_000, 3_600_000)

    def topic(self, name: str) -> str:
        return f"{self.stem}.{name}" if self.stem else name

    def create_topics(self) -> None:
        stamped = {"message.timestamp.type": "LogAppendTime"}
        plans = [
            TopicPlan(self.topic(names.RETURNED), PARTITIONS, stamped),
            TopicPlan(self.topic(names.EVENTS), PARTITIONS, stamped),
            TopicPlan(self.topic(LANE), PARTITIONS, stamped),
            TopicPlan(self.topic(names.REFUSED), 1, stamped),
            TopicPlan(self.topic(names.FORWARDING), 1, {**stamped, "cleanup.policy": "compact"}),
        ]
        ensure_topics(KafkaSettings(bootstrap=self.bootstrap), plans)

    def publish(self, mail: Sequence[tuple[Returned, bytes]], partition: int = 0) -> None:
        producer = make_producer(ClientOptions(self.bootstrap, "test"), None, linger_ms=0)
        for returned, content in mail:
            key, headers = encode_returned(returned)
            producer.send(self.topic(names.RETURNED), content, key, list(headers), partition)
        producer.flush()
        producer.close()

    def publish_record(self, output: Output) -> None:
        producer = make_producer(ClientOptions(self.bootstrap, "test"), None, linger_ms=0)
        topic = self.topic(names.RETURNED)
        producer.send(topic, output.value, output.key, list(output.headers), output.partition)
        producer.flush()
        producer.close()

    def publish_event(self, event: Event) -> None:
        """Write this event once more."""
        key, value, headers = encode_event(event.type, event.subject, event.data, "returns")
        producer = make_producer(ClientOptions(self.bootstrap, "test"), None, linger_ms=0)
        producer.send(self.topic(names.EVENTS), value, key, list(headers)).get(timeout=PATIENCE_S)
        producer.close()

    def skip_returned(self) -> None:
        """Commit the ends of mail.returned for the group, as if all of it had been processed."""
        options = ClientOptions(self.bootstrap, "test")
        with closing(LogReader(options, self.topic(names.RETURNED))) as reader:
            ends = reader.ends(reader.partitions())
        consumer = make_consumer(options, self.group)
        named = {
            TopicPartition(self.topic(names.RETURNED), each): end for each, end in ends.items()
        }
        consumer.assign(list(named))
        consumer.commit({each: OffsetAndMetadata(end, "", -1) for each, end in named.items()})
        consumer.close(autocommit=False)

    def books(self) -> ReturnedTopics:
        """Return the books that an audit reads from these topics."""
        return ReturnedTopics(self.topic(names.RETURNED), self.topic(names.REFUSED), self.group)

    @property
    def group(self) -> str:
        return f"{self.stem}.group"

    def events(self) -> list[Event]:
        found = (decode_event(each.headers, each.value) for each in self._all(names.EVENTS))
        return [each for each in found if isinstance(each, Event)]

    def forwarded(self) -> list[Message]:
        packs = (decode_pack(each.value, each.headers) for each in self._all(LANE))
        return [message for pack in packs for message in pack]

    def refused(self) -> int:
        return len(self._all(names.REFUSED))

    def _all(self, name: str) -> list[Record]:
        """Return every record of a topic that is committed now."""
        found: list[Record] = []
        options = ClientOptions(self.bootstrap, "test")
        with closing(LogReader(options, self.topic(name))) as reader:
            ends = reader.ends(reader.partitions())
            reader.read_from(dict.fromkeys(ends, 0))
            while not reader.has_reached(ends):
                for records in reader.poll(100).values():
                    found += records
        return found

    def worker(
        self, name: str, failpoints: Failpoints = NEVER, clock: Clock | None = None
    ) -> ReturnsWorker:
        clock = clock or SystemClock()
        options = ClientOptions(self.bootstrap, f"{self.stem}.{name}", static=False)
        producer = TransactionalProducer(
            options, "returns", failpoints, Watchdog(60.0, lambda *_: None)
        )
        tools = Tools(
            rules=RULES,
            lanes=Lanes({}),
            policy=self.policy,
            verification=lambda: Verification(KEYS, 60),
            partitions_of=lambda topic: PARTITIONS,
        )
        metrics = register_metrics(Counters("test", name))
        processor = ReturnsProcessor(Registry(self.client), tools, clock, metrics)
        topics = (self.topic(names.RETURNED),)
        return ReturnsWorker(
            WorkerParts(
                make_consumer=partial(StreamConsumer, options, self.group, topics),
                producer=producer,
                processor=Renamed(self.stem, processor),
                windows=WindowLog(options, clock, self.topic(names.FORWARDING)),
                failpoints=failpoints,
            )
        )

    @contextmanager
    def working(self, name: str = "one", clock: Clock | None = None) -> Iterator[ReturnsWorker]:
        worker, stop = self.worker(name, clock=clock), Stop()
        thread = threading.Thread(target=worker.run, args=(stop,), daemon=True)
        thread.start()
        try:
            yield worker
        finally:
            stop.set()
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
