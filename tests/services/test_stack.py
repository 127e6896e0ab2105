"""The real Kafka, Cassandra and HiveServer2 under the supervisor: answers, addresses, kill -9, a second instance."""

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from braid.adapters import hive
from braid.adapters.cassandra.session import Session, opened
from braid.adapters.environment import load
from braid.adapters.kafka import KafkaLog, newest
from braid.adapters.kafka_producer import EventProducer
from braid.errors import NotReady
from braid.settings import Settings
from stack import home, readiness
from stack.doctor import examine
from stack.services import kafka, services
from stack.status import statuses
from stack.supervisor import Supervisor
from stack.up import Started, down, up
from tests.stack_fixture import names

LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def pid_of(settings: Settings, name: str) -> int:
    keeper = Supervisor.of(settings)
    assert keeper is not None
    return keeper.states()[name].pid


def killed(settings: Settings, name: str, ask: Callable[[Settings], None]) -> float:
    """Kill a service as kill -9 does and return the seconds until a new process of it has answered."""
    before = pid_of(settings, name)
    started = time.monotonic()
    os.kill(before, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(before)] if psutil.pid_exists(before) else [], timeout=10)

    def reborn() -> None:
        if pid_of(settings, name) in {0, before}:
            raise NotReady(f"{name}: not started again yet")
        ask(settings)

    readiness.wait(reborn, 120, lambda: None)
    return time.monotonic() - started


def test_each_service_answers_in_its_own_protocol(stack: Settings):
    readiness.kafka(stack)
    readiness.cassandra(stack)
    readiness.hive(stack)
    found = statuses(stack, services(stack))
    assert [(one.name, one.state) for one in found[:3]] == [(n, "RUNNING") for n in ("kafka", "cassandra", "hive")]
    assert all(one.memory_mb > 50 and one.uptime_s >= 0 for one in found[:3])


def test_a_second_up_is_quick_and_starts_nothing(stack: Settings):
    before = [pid_of(stack, program.name) for program in services(stack)]
    found: list[Started] = []
    started = time.monotonic()
    again = up(load(names(BRAID_HOME=str(stack.home))), report=found.append)
    assert time.monotonic() - started < 5
    assert again.ports == stack.ports and all(one.ran_before for one in found)
    assert [pid_of(stack, program.name) for program in services(stack)] == before


def test_every_listener_is_on_loopback(stack: Settings):
    ours = {process.pid for process in home.marked(stack)}
    listening = [c for c in psutil.net_connections("tcp") if c.pid in ours and c.status == psutil.CONN_LISTEN]
    assert {c.laddr.ip for c in listening} <= LOOPBACK
    ports = {c.laddr.port for c in listening}
    assert {
        stack.ports.kafka,
        stack.ports.controller,
        stack.cassandra_port,
        stack.ports.storage,
        stack.hive_port,
    } <= ports
    assert not ports & {9083, 7199}, "a metastore or JMX port"


def test_the_doctor_finds_nothing_wrong(stack: Settings):
    wrong = [check for check in examine(load(names(BRAID_HOME=str(stack.home)))) if check.verdict == "fail"]
    assert wrong == []


def test_a_killed_kafka_comes_back_with_what_was_acknowledged(stack: Settings):
    topic = f"stack-{time.time_ns()}"
    with KafkaLog(stack.kafka_bootstrap) as log:
        log.create(topic, 1)
    with EventProducer(stack.kafka_bootstrap) as producer:
        deliveries = [producer.send(topic, b"key", b"%d" % number) for number in range(100)]
    assert all(delivery.is_done and delivery.exception is None for delivery in deliveries)
    killed(stack, "kafka", readiness.kafka)
    assert [record.value for record in newest(stack.kafka_bootstrap, topic, 1000)] == [b"%d" % n for n in range(100)]


def cql(settings: Settings) -> Session:
    return opened(settings.cassandra_host, settings.cassandra_port)


def test_a_killed_cassandra_comes_back_with_every_acknowledged_write(stack: Settings):
    keyspace = f"stack_{time.time_ns()}"
    session = cql(stack)
    try:
        session.define(
            f"CREATE KEYSPACE {keyspace} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
        )
        session.define(f"CREATE TABLE {keyspace}.t (a int PRIMARY KEY, b text)")
        session.write(f"INSERT INTO {keyspace}.t (a, b) VALUES (?, ?)", [(n, f"row {n}") for n in range(100)])
    finally:
        session.close()
    killed(stack, "cassandra", readiness.cassandra)
    session = cql(stack)
    try:
        assert sorted(session.run(f"SELECT a, b FROM {keyspace}.t")) == [(n, f"row {n}") for n in range(100)]
    finally:
        session.define(f"DROP KEYSPACE {keyspace}")
        session.close()


def test_a_killed_hiveserver_comes_back_with_its_catalogue(stack: Settings):
    database = f"stack_{time.time_ns()}"
    with hive.connect(stack) as connection:
        connection.rows(f"CREATE DATABASE {database}", "a database")
    killed(stack, "hive", readiness.hive)
    with hive.connect(stack) as connection:
        assert (database,) in connection.rows("SHOW DATABASES", "the databases")
        connection.rows(f"DROP DATABASE {database}", "a database")


def test_a_second_instance_runs_beside_the_first(stack: Settings, tmp_path: Path):
    other = load(names(BRAID_HOME=str(tmp_path / "other"), BRAID_PORTS="free"))
    try:
        other = up(other, lambda settings: [kafka(settings)])
        readiness.kafka(other)
        readiness.kafka(stack)
        assert not set(other.ports.as_dict().values()) & set(stack.ports.as_dict().values())
    finally:
        down(other)
    assert home.marked(other) == []
    readiness.kafka(stack)


def test_a_stopped_service_is_named_by_its_question(tmp_path: Path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # closed again: nothing listens there
    gone = load(names(BRAID_HOME=str(tmp_path), BRAID_PORTS=f"standard,kafka={port},cassandra={port},hive={port}"))
    for ask, name in ((readiness.kafka, "Kafka"), (readiness.cassandra, "cassandra"), (readiness.hive, "Hive")):
        with pytest.raises(NotReady, match=f"(?i)^{name}.*{port}"):
            ask(gone)
