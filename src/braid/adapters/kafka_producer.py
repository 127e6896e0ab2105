"""The one way into the log: events sent to a real Kafka, each with what became of it.

librdkafka does the work: what costs Python 25 µs an event costs this 3, and a load beside a stream leaves it the cores.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from types import TracebackType
from typing import cast

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from braid.adapters.kafka import RECONNECT_MS, TIMEOUT_MS, knock, unavailable
from braid.dead import Place
from braid.errors import StoreUnavailable

DELIVERY_MS = 120_000  # a broker that restarts is waited for
_LOOK_S = 0.1
_BY_KEY = -1  # in place of a partition: the partitioner chooses it
_MOST_KIB = 2_147_483_647  # what librdkafka takes as the limit of its queue
_MESSAGE_BYTES = 1_048_576  # as the broker's own limit


class Delivery:
    """What became of one event.

    Attributes
    ----------
    is_done : bool, once the broker acknowledged or refused it
    """

    __slots__ = ("_error", "_message", "is_done")

    def __init__(self) -> None:
        self.is_done = False

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        """Take the broker's answer; called by the client, once an event, so it does no more than keep it."""
        self._error = error
        self._message = message
        self.is_done = True

    @property
    def exception(self) -> BaseException | None:
        """What the broker refused it with, None as long as it has not."""
        return KafkaException(self._error) if self.is_done and self._error is not None else None

    @property
    def value(self) -> Place | None:
        """Where the event lies, None as long as it was not acknowledged."""
        if not self.is_done or self._error is not None:
            return None
        place = (self._message.topic(), self._message.partition(), self._message.offset())
        return Place(*cast("tuple[str, int, int]", place))  # an acknowledged message has all three


class EventProducer:
    """Sends keyed events: `acks=all`, idempotent, lz4, batched.

    Sending never blocks and never bounds memory: the caller counts what is not yet acknowledged. A broker that is
    down is retried until the delivery time-out of 120 s. A key's partition is its CRC-32 modulo their number.

    Parameters
    ----------
    bootstrap : `host:port`, several separated by commas
    linger_ms : how long a batch may wait for company

    Raises
    ------
    StoreUnavailable
        No broker answers there within 10 s.
    """

    def __init__(self, bootstrap: str, linger_ms: int = 5, timeout_ms: int = TIMEOUT_MS) -> None:
        self._bootstrap = bootstrap
        self._timeout_s = timeout_ms / 1000
        self._producer = Producer(
            {
                "bootstrap.servers": ",".join(knock(bootstrap)),
                "acks": "all",
                "enable.idempotence": True,
                "delivery.timeout.ms": DELIVERY_MS,
                "compression.type": "lz4",
                "linger.ms": linger_ms,
                "batch.size": 262_144,
                "message.max.bytes": _MESSAGE_BYTES,
                "partitioner": "consistent_random",  # CRC-32 of the key
                "allow.auto.create.topics": False,
                "queue.buffering.max.messages": 0,  # no limit
                "queue.buffering.max.kbytes": _MOST_KIB,
                "reconnect.backoff.max.ms": RECONNECT_MS,
                "log_level": 2,  # each reconnect would be a line; what matters arrives as an exception or an unanswered send
            }
        )
        self._known: set[str] = set()
        self._metadata("a sign of life", None)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="deliveries", daemon=True)
        self._thread.start()

    def send(self, topic: str, key: bytes | None, value: bytes | None, partition: int | None = None) -> Delivery:
        """Hand over one event and return its delivery at once; the first of a topic asks the broker whether it is there."""
        if topic not in self._known:
            self._metadata(f"sending to {topic}", topic)
            self._known.add(topic)
        delivery = Delivery()
        try:
            self._producer.produce(topic, value, key, _BY_KEY if partition is None else partition, on_delivery=delivery)
        except (KafkaException, BufferError) as error:
            raise self._unavailable(f"sending to {topic}", error) from error
        return delivery

    def delivered(self, topic: str, key: bytes | None, value: bytes | None) -> tuple[int, int]:
        """Send one event, wait for its acknowledgement and return its partition and offset.

        Raises
        ------
        StoreUnavailable
            The broker refused it, or did not acknowledge it within the delivery time-out.
        """
        delivery = self.send(topic, key, value)
        self._flush(DELIVERY_MS / 1000 + 1)
        place = self._settled(topic, delivery)
        return place.partition, place.offset

    def send_all(self, topic: str, records: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Send keyed records and wait until every one is acknowledged.

        Raises
        ------
        StoreUnavailable
            The broker refused one, or did not acknowledge it within the delivery time-out.
        """
        deliveries = [self.send(topic, key, value) for key, value in records]
        self._flush(DELIVERY_MS / 1000 + 1)
        for delivery in deliveries:
            self._settled(topic, delivery)

    def close(self, timeout_s: float) -> None:
        """Close; what is not acknowledged within `timeout_s` seconds is given up, and its deliveries fail."""
        if self._flush(timeout_s):
            self._producer.purge()
            self._flush(1.0)
        self._ended.set()
        self._thread.join()

    def _settled(self, topic: str, delivery: Delivery) -> Place:
        """Return where an event lies that was waited for; StoreUnavailable when the log does not have it."""
        place = delivery.value
        if place is None:
            late = TimeoutError(f"no answer in {DELIVERY_MS // 1000} s")
            raise self._unavailable(f"sending to {topic}", delivery.exception or late)
        return place

    def _flush(self, timeout_s: float) -> int:
        """Wait until everything is answered, at most so long; return how much is not. Little by little: Ctrl-C is heard between."""
        end_s = time.monotonic() + timeout_s
        while True:
            left = self._producer.flush(max(0.0, min(_LOOK_S, end_s - time.monotonic())))
            if not left or time.monotonic() >= end_s:
                return int(left)

    def _serve(self) -> None:
        """Take the broker's answers, so that deliveries are done by themselves."""
        while not self._ended.is_set():
            self._producer.poll(_LOOK_S)

    def _metadata(self, what: str, topic: str | None) -> None:
        try:
            found = (
                self._producer.list_topics(topic, self._timeout_s)
                if topic
                else self._producer.list_topics(timeout=self._timeout_s)
            )
        except KafkaException as error:
            raise self._unavailable(what, error) from error
        if topic is not None and (refused := found.topics[topic].error) is not None:
            raise self._unavailable(what, KafkaException(refused))

    def _unavailable(self, what: str, error: BaseException) -> StoreUnavailable:
        said = error.args[0] if error.args else error
        text = f"{said.name()}: {said.str()}" if isinstance(said, KafkaError) else str(said)
        return unavailable(self._bootstrap, what, text)

    def __enter__(self) -> EventProducer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close(0 if kind else 30)
