"""The log on a real broker: the contract of the port, and what only a broker can show."""

import time
import uuid
import zlib
from collections.abc import Callable, Iterator

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ConfigResource

from braid.adapters.kafka import KafkaLog
from braid.adapters.kafka_producer import Delivery, EventProducer
from braid.errors import StoreUnavailable
from braid.settings import Settings
from tests.contracts import LogContract


@pytest.fixture(scope="module")
def broker(stack: Settings) -> str:
    return stack.kafka_bootstrap


@pytest.fixture(scope="module")
def log(broker: str) -> Iterator[KafkaLog]:
    with KafkaLog(broker) as opened:
        yield opened


@pytest.fixture(scope="module")
def producer(broker: str) -> Iterator[EventProducer]:
    with EventProducer(broker) as opened:
        yield opened


@pytest.fixture
def topic() -> Callable[[], str]:
    return lambda: f"test-{uuid.uuid4().hex}"


@pytest.fixture
def send(producer: EventProducer) -> Callable[[str, int, bytes | None], int]:
    def one(name: str, partition: int, value: bytes | None) -> int:
        return answered(producer.send(name, b"key", value, partition)).value.offset

    return one


def answered(delivery: Delivery) -> object:
    end = time.monotonic() + 30
    while not delivery.is_done:
        assert time.monotonic() < end, "not acknowledged within 30 s"
        time.sleep(0.002)
    assert delivery.exception is None
    return delivery


class TestKafkaLog(LogContract):
    pass


def test_a_topic_keeps_append_time_and_its_records(log: KafkaLog, broker: str, topic: Callable[[], str]) -> None:
    name = topic()
    log.create(name, 1)
    admin = KafkaAdminClient(bootstrap_servers=broker)
    try:
        configs = admin.describe_configs([ConfigResource("topic", name)], config_filter="all")["topic"][name]
    finally:
        admin.close()
    assert configs["message.timestamp.type"]["value"] == "LogAppendTime"
    assert configs["cleanup.policy"]["value"] == "delete"


def test_published_offsets_are_what_lag_tools_read(log: KafkaLog, topic: Callable[[], str]) -> None:
    name = topic()
    log.create(name, 2)
    assert log.group(f"braid-{name}") == {}
    log.publish_group(f"braid-{name}", {(name, 0): 7, (name, 1): 0})
    log.publish_group(f"braid-{name}", {(name, 0): 9, (name, 1): 4})
    assert log.group(f"braid-{name}") == {(name, 0): 9, (name, 1): 4}


def test_an_open_transaction_holds_the_end_back(log: KafkaLog, broker: str, topic: Callable[[], str]) -> None:
    name = topic()
    log.create(name, 1)
    foreign = KafkaProducer(bootstrap_servers=broker, transactional_id=name)
    try:
        foreign.init_transactions()
        foreign.begin_transaction()
        foreign.send(name, b"not yet").get(30)
        assert log.latest([name]) == {(name, 0): 0}
        foreign.commit_transaction()
        end = time.monotonic() + 30
        while log.latest([name]) != {(name, 0): 2}:  # the record and the marker, which holds no record
            assert time.monotonic() < end
            time.sleep(0.02)
    finally:
        foreign.close()


def test_no_broker_is_one_clear_line_at_once() -> None:
    start = time.monotonic()
    for client in (KafkaLog, EventProducer):
        with pytest.raises(StoreUnavailable) as raised:
            client("127.0.0.1:1")
        assert str(raised.value) == (
            "Kafka at 127.0.0.1:1: expected a broker there, got [Errno 111] Connection refused; start it with `braid up`"
        )
    assert time.monotonic() - start < 5


def test_a_key_always_takes_the_same_partition(
    log: KafkaLog, producer: EventProducer, topic: Callable[[], str]
) -> None:
    name = topic()
    log.create(name, 3)
    keys = [f'["sat-{i:05d}","2026-01-01T00:00:00Z"]'.encode() for i in range(60)]
    first = [answered(producer.send(name, key, b"{}")).value.partition for key in keys]
    again = [answered(producer.send(name, key, b"{}")).value.partition for key in keys]
    assert first == again == [zlib.crc32(key) % 3 for key in keys]
    assert sum(log.latest([name]).values()) == 120


def test_a_record_that_is_too_large_fails_by_name(
    log: KafkaLog, producer: EventProducer, topic: Callable[[], str]
) -> None:
    name = topic()
    log.create(name, 1)
    with pytest.raises(StoreUnavailable, match="MSG_SIZE_TOO_LARGE"):
        producer.send(name, b"key", b"x" * 2_000_000)
    assert log.latest([name]) == {(name, 0): 0}


def test_giving_up_fails_what_was_not_acknowledged(log: KafkaLog, broker: str, topic: Callable[[], str]) -> None:
    name = topic()
    log.create(name, 1)
    sender = EventProducer(broker, linger_ms=60_000)  # nothing leaves by itself within the test
    delivery = sender.send(name, b"key", b"kept back")
    sender.close(0)
    assert delivery.is_done


def test_a_delivered_event_is_where_the_answer_says(log, producer, topic):
    name = topic()
    log.create(name, 1)
    assert [producer.delivered(name, None, text) for text in (b"one", b"two")] == [(0, 0), (0, 1)]
    assert log.latest([name]) == {(name, 0): 2}
