"""A worker with its own loop, and packs for it to read."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from zlib import crc32

import uvloop

from shared.runtime.failpoints import Failpoints
from shared.runtime.lifecycle import Stop
from shared.stream import outputs
from shared.stream.client import ClientOptions
from shared.stream.consumer import StreamConsumer
from shared.stream.jobs import Handler, Job, Limits
from shared.stream.transactions import Output, TransactionalProducer
from shared.stream.watchdog import Watchdog
from shared.stream.worker import Worker
from shared.topics import ids
from shared.topics.codec import PACK_MAX_MESSAGES
from shared.topics.records import Message
from tests.support.patience import PATIENCE_S
from tests.support.stream_topics import envelope, member


class RunningWorker:
    """A worker with its own loop, whose handler waits briefly for each message."""

    def __init__(
        self,
        bootstrap: str,
        name: str,
        source: str,
        target: str,
        *,
        static: bool = True,
        shelf: str = "",
        drain_timeout_s: float = 20.0,
        make_producer: Callable[..., TransactionalProducer] = TransactionalProducer,
    ) -> None:
        """`shelf` is the name of the handover topic, or "" for no such topic."""
        options = member(bootstrap, name, static=static)
        sources = (source, shelf) if shelf else (source,)
        self.stop = Stop()
        self.target = target
        self.attempted: list[str] = []
        # `hold_back` returns True if a message must not start, `is_slow` if it must not end yet.
        self.hold_back: Callable[[Job], bool] = lambda job: False
        self.is_slow: Callable[[Job], bool] = lambda job: False
        self.consumers: list[StreamConsumer] = []
        self.worker = Worker(
            "deliver",
            lambda: self._consumer(options, f"g.{source}", sources),
            make_producer(options, f"deliver.{source}", Failpoints.none(), Watchdog()),
            Failpoints.none(),
            Limits(
                max_in_flight=500,
                commit_messages=100,
                drain_timeout_s=drain_timeout_s,
                handover_topic=shelf,
            ),
        )
        self.loop = uvloop.new_event_loop()
        self.loop_thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.loop_thread.start()
        self.thread = threading.Thread(
            target=self.worker.run,
            args=(self.stop, Handler(self.hand_out, lambda record, reason: [], lambda messages: 0)),
            daemon=True,
        )
        self.thread.start()

    def _consumer(
        self, options: ClientOptions, group: str, sources: tuple[str, ...]
    ) -> StreamConsumer:
        consumer = StreamConsumer(options, group, sources, keeps_claims=True)
        self.consumers.append(consumer)
        return consumer

    def hand_out(self, jobs: list[Job]) -> None:
        self.loop.call_soon_threadsafe(
            lambda: [self.loop.create_task(self.attempt(job)) for job in jobs]
        )

    async def attempt(self, job: Job) -> None:
        await asyncio.sleep(0.001 * (crc32(job.message.envelope.mail_id.encode()) % 50))
        if self.hold_back(job) or not job.begin():
            return
        mail_id = job.message.envelope.mail_id
        self.attempted.append(mail_id)
        await asyncio.sleep(0.02)
        while self.is_slow(job):  # noqa: ASYNC110 - the test decides from another thread
            await asyncio.sleep(0.05)
        self.worker.settle(job, [Output(self.target, mail_id.encode())])

    def end(self) -> None:
        self.stop.set()
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()
        self.loop.call_soon_threadsafe(self._end_loop)
        self.loop_thread.join()

    def _end_loop(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.call_soon(self.loop.stop)


def ids_of_pack(number: int, size: int = PACK_MAX_MESSAGES) -> list[str]:
    first = number * PACK_MAX_MESSAGES
    return [ids.encode(first + index) for index in range(size)]


def pack_of(topic: str, number: int, size: int = PACK_MAX_MESSAGES) -> Output:
    messages = [Message(envelope(mail_id), b"x" * 100) for mail_id in ids_of_pack(number, size)]
    return outputs.pack(topic, messages)
