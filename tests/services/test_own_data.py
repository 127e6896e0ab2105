"""A topic of somebody else's producer, on a real broker: drafted from and checked by the commands that people type."""

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer

from braid.adapters.kafka import between, newest_span
from braid.declaration_reader import load
from braid.settings import Settings
from tests.stack_fixture import names

REPOSITORY = Path(__file__).parents[2]
RECORDS = 300


@pytest.fixture
def topic(stack: Settings) -> Iterator[str]:
    """A topic made with the broker's own settings, not ours: 4 partitions, times given by its producer."""
    name = f"own.data-{uuid.uuid4().hex[:8]}"
    admin = KafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap)
    admin.create_topics({name: {"num_partitions": 4}})
    admin.wait_for_topics([name])
    yield name
    admin.delete_topics([name])
    admin.close()


def reading(i: int) -> bytes:
    room, at = ("lab", "hall")[i % 2], f"2026-03-01T10:{i // 8:02d}:00Z"
    return json.dumps({"sensor": f"a-{i % 8}", "room": room, "at": at, "db": i / 4}).encode()


def send(stack: Settings, topic: str, keyed: bool) -> None:
    producer = KafkaProducer(bootstrap_servers=stack.kafka_bootstrap)
    try:
        sent = [producer.send(topic, reading(i), key=f"{i % 3}".encode() if keyed else None) for i in range(RECORDS)]
        sent += [producer.send(topic, reading(i), partition=i % 4) for i in range(20)]
        sent += [producer.send(topic, b"typed by hand"), producer.send(topic, None, key=b"tombstone")]
        for one in sent:
            one.get(30)
    finally:
        producer.close()


def braid(stack: Settings, root: Path, *words: str, status: int = 0) -> tuple[str, str]:
    environ = names(BRAID_HOME=str(stack.home), BRAID_ROOT=str(root)) | {"PYTHONPATH": str(REPOSITORY / "src")}
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *words],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


@pytest.mark.parametrize("keyed", [False, True], ids=["no keys", "keys of their own"])
def test_a_foreign_topic_is_drafted_from_and_checked(stack: Settings, tmp_path: Path, topic: str, keyed: bool) -> None:
    for folder in ("src", "infrastructure"):
        (tmp_path / folder).symlink_to(REPOSITORY / folder)
    (tmp_path / "datasets").mkdir()
    send(stack, topic, keyed)
    _, err = braid(stack, tmp_path, "new", "own", "--from", topic)
    declared = load(tmp_path / "datasets" / "own.yaml")
    assert [t.name for t in declared.topics] == [topic]
    assert declared.topics[0].event_id == ("sensor", "at")
    assert f"topic {topic}: {RECORDS + 20} records; 2 more cannot be read" in err
    out, _ = braid(stack, tmp_path, "check", "own", "--from", topic, "--json", status=1)
    facts: dict[str, Any] = json.loads(out)
    assert (facts["good"], facts["copies"], facts["dead"]) == (RECORDS, 20, 2)
    assert {r["reason"] for r in facts["reasons"]} == {"expected one JSON object", "no value"}
    assert all(r["place"].startswith(f"{topic}:") for r in facts["reasons"])
    assert facts["views"][1]["events"] == RECORDS


def test_the_newest_records_come_from_every_partition(stack: Settings, topic: str) -> None:
    send(stack, topic, keyed=False)
    start, end = newest_span(stack.kafka_bootstrap, topic, 40)
    found = [seen for _, some in between(stack.kafka_bootstrap, start, end) for seen in some]
    assert len(found) == 40
    assert {seen.partition for seen in found} == {0, 1, 2, 3}


def test_a_topic_that_is_not_there_is_one_line(stack: Settings, tmp_path: Path) -> None:
    for folder in ("src", "infrastructure"):
        (tmp_path / folder).symlink_to(REPOSITORY / folder)
    (tmp_path / "datasets").mkdir()
    _, err = braid(stack, tmp_path, "new", "own", "--from", "nobody", status=1)
    assert err.count("\n") == 1
    assert err.startswith("braid: nobody: no file is called so, and as a topic: Kafka at ")
