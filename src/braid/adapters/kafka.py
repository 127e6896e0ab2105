"""The log on a real Kafka: where its topics stand (`KafkaLog`), and what they hold; the way into it is `kafka_producer`.

Offsets mean the next record. Ends are asked as `read_committed`, like every reader of Braid reads: a transaction of
somebody else that is still open holds them back, and an answer never covers a record that may yet be taken away.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple

from kafka import KafkaAdminClient, KafkaConsumer
from kafka.errors import KafkaError, TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code
from kafka.protocol.consumer import IsolationLevel, OffsetSpec
from kafka.structs import OffsetAndMetadata, TopicPartition

from braid.errors import Gap, StoreUnavailable
from braid.ledger import Offsets, Partition

TIMEOUT_MS = 10_000
RETRY_S = 0.1
RECONNECT_MS = 1_000  # the client's own 30 s would be most of an outage
PARTITIONS = 3  # of a new topic; never changed afterwards

# kafka-python logs a traceback for each reconnect; what matters arrives as an exception or an unanswered send
logging.getLogger("kafka").setLevel(logging.CRITICAL)

_TOPIC = {
    # append time: a replayed history is not deleted by retention, and "later than append" is a function of the log
    "message.timestamp.type": "LogAppendTime",
    "cleanup.policy": "delete",
}


class _Exists(Exception):
    """The topic to create is there already."""


@contextmanager
def _answering(bootstrap: str, what: str) -> Iterator[None]:
    """Turn whatever the client raises into one error that says which broker was asked for what."""
    try:
        yield
    except (KafkaError, OSError) as error:
        raise unavailable(bootstrap, what, str(error).rstrip(": ") or type(error).__name__) from error


def unavailable(bootstrap: str, what: str, text: str) -> StoreUnavailable:
    """Return the error that says which broker was asked for what, and what came of it."""
    return StoreUnavailable(f"Kafka at {bootstrap}: {what}: {text}; is it up? ask `braid status`")


def knock(bootstrap: str) -> list[str]:
    """Return the addresses of `bootstrap` once one takes a connection; the client itself would try on in silence.

    Raises
    ------
    StoreUnavailable
        Nothing listens at any of them.
    """
    addresses = [a.strip() for a in bootstrap.split(",") if a.strip()]
    refused = "no address"
    for address in addresses:
        host, colon, port = address.rpartition(":")
        try:
            with socket.create_connection((host.strip("[]") if colon else address, int(port) if colon else 9092), 5):
                return addresses
        except (OSError, ValueError) as error:
            refused = str(error)
    raise StoreUnavailable(f"Kafka at {bootstrap}: expected a broker there, got {refused}; start it with `braid up`")


class KafkaLog:
    """The port `Log` on a broker.

    Parameters
    ----------
    bootstrap : `host:port`, several separated by commas

    Raises
    ------
    StoreUnavailable
        No broker answers there within 10 s.
    """

    def __init__(self, bootstrap: str, timeout_ms: int = TIMEOUT_MS) -> None:
        self._bootstrap = bootstrap
        self._timeout_s = timeout_ms / 1000
        self._turn = threading.Lock()  # the client is for one thread at a time
        addresses = knock(bootstrap)
        with _answering(bootstrap, "connecting"):
            self._admin = KafkaAdminClient(
                bootstrap_servers=addresses,
                bootstrap_timeout_ms=timeout_ms,
                request_timeout_ms=timeout_ms,
                reconnect_backoff_max_ms=RECONNECT_MS,
            )

    def ping(self) -> None:
        """Ask for a sign of life: the cluster must know a broker; StoreUnavailable when it does not."""
        if not self._ask("a sign of life", self._admin.describe_cluster).get("brokers"):
            raise StoreUnavailable(f"Kafka at {self._bootstrap}: knows no broker yet")

    def create(self, topic: str, partitions: int) -> None:
        """Create a topic with append time as its timestamps; nothing happens when it exists."""
        with contextlib.suppress(_Exists):
            self._ask(f"creating topic {topic}", lambda: self._create(topic, partitions))
        self._ask(f"creating topic {topic}", lambda: self._admin.wait_for_topics([topic]))

    def _create(self, topic: str, partitions: int) -> None:
        try:
            self._admin.create_topics({topic: {"num_partitions": partitions, "configs": _TOPIC}})
        except TopicAlreadyExistsError as error:
            raise _Exists from error

    def topic_ids(self, topics: Sequence[str]) -> dict[str, str]:
        """Return the broker's unique id of each topic: a topic created again has another."""
        return {topic["name"]: str(topic["topic_id"]) for topic in self._described(topics)}

    def partitions(self, topics: Sequence[str]) -> list[Partition]:
        """Return every partition of the topics, in order."""
        found = [(t["name"], p["partition_index"]) for t in self._described(topics) for p in t["partitions"]]
        return sorted(found)

    def earliest(self, topics: Sequence[str]) -> dict[Partition, int]:
        """Return the first offset still held, per partition."""
        return self._offsets(topics, OffsetSpec.EARLIEST)

    def latest(self, topics: Sequence[str]) -> dict[Partition, int]:
        """Return the end offset, per partition: below it, everything is committed."""
        return self._offsets(topics, OffsetSpec.LATEST)

    def names(self) -> list[str]:
        """Return the names of the topics there are, Kafka's own left out."""
        found: list[str] = self._ask("listing topics", self._admin.list_topics)
        return sorted(name for name in found if not name.startswith("__"))

    def publish_group(self, group: str, ends: Offsets) -> None:
        """Publish the ledger's end as a consumer group's offsets, for standard lag tools."""
        offsets = {TopicPartition(*partition): OffsetAndMetadata(end) for partition, end in ends.items()}

        def alter() -> None:
            for partition, error in self._admin.alter_group_offsets(group, offsets).items():
                if error.errno:
                    raise error(f"{partition.topic} partition {partition.partition}")

        self._ask(f"publishing offsets of group {group}", alter)

    def group(self, group: str) -> dict[Partition, int]:
        """Return the offsets published for a consumer group; empty when there are none."""
        found = self._ask(f"reading offsets of group {group}", lambda: self._admin.list_group_offsets(group)[group])
        return {(p.topic, p.partition): held.offset for p, held in found.items() if held.offset >= 0}

    def close(self) -> None:
        """Close the connection."""
        self._admin.close()

    def __enter__(self) -> KafkaLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _described(self, topics: Sequence[str]) -> list[dict[str, Any]]:
        described = self._ask(f"describing {', '.join(topics)}", lambda: self._admin.describe_topics(list(topics)))
        for topic in described:
            if topic["error_code"] == UnknownTopicOrPartitionError.errno:
                raise StoreUnavailable(
                    f"Kafka at {self._bootstrap}: expected topic {topic['name']} to exist, got none; "
                    "the stream and the producer create it when they start"
                )
            if topic["error_code"]:
                raise StoreUnavailable(
                    f"Kafka at {self._bootstrap}: topic {topic['name']}: {for_code(topic['error_code'])}"
                )
        return list(described)

    def _offsets(self, topics: Sequence[str], spec: OffsetSpec) -> dict[Partition, int]:
        wanted = {TopicPartition(*partition): spec for partition in self.partitions(topics)}
        found = self._ask(
            f"asking {spec.name.lower()} offsets of {', '.join(topics)}",
            lambda: self._admin.list_partition_offsets(wanted, isolation_level=IsolationLevel.READ_COMMITTED),
        )
        return {(p.topic, p.partition): answer.offset for p, answer in sorted(found.items())}

    def _ask(self, what: str, request: Callable[[], Any]) -> Any:
        """Ask until the broker answers or the time-out passes; a coordinator or leader may just be moving."""
        end_s = time.monotonic() + self._timeout_s
        with _answering(self._bootstrap, what):
            while True:
                try:
                    with self._turn:
                        return request()
                except KafkaError as error:
                    if not error.retriable or time.monotonic() > end_s:
                        raise
                    time.sleep(RETRY_S)


class Seen(NamedTuple):
    """One record as a person looks at it: its place, append time, key and value."""

    partition: int
    offset: int
    append_us: int
    key: bytes | None
    value: bytes | None


def newest(bootstrap: str, topic: str, limit: int) -> list[Seen]:
    """Return the newest committed records of a topic, at most `limit` a partition, in offset order per partition.

    Raises
    ------
    StoreUnavailable
        No broker answers, or there is no such topic.
    """
    with KafkaLog(bootstrap) as log:
        begin, end = log.earliest([topic]), log.latest([topic])
    found: list[Seen] = []
    with _answering(bootstrap, f"reading {topic}"):
        consumer = KafkaConsumer(bootstrap_servers=knock(bootstrap), isolation_level="read_committed")
        try:
            wanted = {TopicPartition(*p): (max(begin[p], end[p] - limit), end[p]) for p in end if end[p] > begin[p]}
            consumer.assign(list(wanted))
            for partition, (start, _) in wanted.items():
                consumer.seek(partition, start)
            # a position, unlike a record, also passes a transaction's markers
            while any(consumer.position(partition) < stop for partition, (_, stop) in wanted.items()):
                for partition, records in consumer.poll(timeout_ms=500).items():
                    below = (record for record in records if record.offset < wanted[partition][1])
                    found += [Seen(r.partition, r.offset, r.timestamp * 1000, r.key, r.value) for r in below]
        finally:
            consumer.close()
    return sorted(found)


def newest_span(bootstrap: str, topic: str, limit: int) -> tuple[Offsets, Offsets]:
    """Return (start, end) of the newest records of a topic, `limit` offsets in all, as evenly from its partitions as they hold.

    Raises
    ------
    StoreUnavailable
        No broker answers, or there is no such topic.
    """
    with KafkaLog(bootstrap) as log:
        begin, end = log.earliest([topic]), log.latest([topic])
    return evenly(begin, end, limit), end


def evenly(begin: Offsets, end: Offsets, limit: int) -> dict[Partition, int]:
    """Return where to start, per partition, to have `limit` offsets before the ends; what one lacks others give.

    Examples
    --------
    >>> evenly({("t", 0): 0, ("t", 1): 5}, {("t", 0): 100, ("t", 1): 7}, 10)
    {('t', 1): 5, ('t', 0): 92}
    """
    start, left = {}, limit
    held = {partition: stop - begin.get(partition, 0) for partition, stop in end.items()}
    for i, partition in enumerate(sorted(held, key=lambda p: (held[p], p))):
        taken = min(held[partition], left // (len(held) - i))
        start[partition] = end[partition] - taken
        left -= taken
    return start


def between(bootstrap: str, start: Offsets, end: Offsets) -> Iterator[tuple[str, list[Seen]]]:
    """Yield the committed records of offsets [start, end), as (topic, records of one partition), some at a time.

    Parameters
    ----------
    start, end : per partition; a partition without a start begins at 0

    Raises
    ------
    Gap
        Retention has deleted some of them.
    StoreUnavailable
        No broker answers, or there is no such topic.
    """
    wanted = {p: (start.get(p, 0), stop) for p, stop in end.items() if stop > start.get(p, 0)}
    if not wanted:
        return
    with KafkaLog(bootstrap) as log:
        earliest = log.earliest(sorted({topic for topic, _ in wanted}))
    for (topic, partition), (first, _) in sorted(wanted.items()):
        if earliest.get((topic, partition), 0) > first:
            raise Gap(
                f"{topic} partition {partition}: expected the records from offset {first} on, got {earliest[topic, partition]} "
                "as the earliest; retention deleted them, and the master does not hold them"
            )
    with _answering(bootstrap, f"reading {', '.join(sorted({topic for topic, _ in wanted}))}"):
        consumer = KafkaConsumer(
            bootstrap_servers=knock(bootstrap), isolation_level="read_committed", max_poll_records=50_000
        )
        try:
            places = {TopicPartition(*p): span for p, span in wanted.items()}
            consumer.assign(list(places))
            for place, (first, _) in places.items():
                consumer.seek(place, first)
            # a position, unlike a record, also passes a transaction's markers
            while any(consumer.position(place) < stop for place, (_, stop) in places.items()):
                for place, records in consumer.poll(timeout_ms=500).items():
                    below = [r for r in records if r.offset < places[place][1]]
                    yield (
                        place.topic,
                        [Seen(r.partition, r.offset, r.timestamp * 1000, r.key, r.value) for r in below],
                    )
        finally:
            consumer.close()
