"""Gaps and dead letters on a real Kafka and Cassandra, by the commands that people type.

The speed layer's side is counted by plain loops (`tests/spark/speed.py`), so no JVM is needed and every step is known.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.structs import TopicPartition

from braid import dead, gaps, ledger, records
from braid.adapters import cassandra, kafka
from braid.declaration import Declaration
from braid.declaration_reader import load
from braid.errors import Gap, StoreUnavailable
from braid.ports import DeadLetterRow
from braid.settings import Settings
from tests.services.test_batch import RealSpeed
from tests.stack_fixture import names

REPOSITORY = Path(__file__).parents[2]


@dataclass
class Here:
    """A dataset of its own on the shared stack."""

    settings: Settings
    declaration: Declaration
    log: kafka.KafkaLog
    stores: cassandra.Stores
    admin: KafkaAdminClient

    @property
    def name(self) -> str:
        return self.declaration.dataset

    def braid(self, *words: str, status: int = 0) -> Any:
        """Run a command with --json and return what it printed."""
        environ = names(BRAID_HOME=str(self.settings.home), BRAID_ROOT=str(self.settings.root))
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *words, "--json"], env=environ | {"PYTHONPATH": str(REPOSITORY / "src")},
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        return json.loads(done.stdout) if done.stdout else done.stderr

    def check(self) -> None:
        """Refuse as the stream does when the log lacks what comes after head."""
        topics = [self.name]
        ledger.check_log(self.stores.ledger.head(), self.log.earliest(topics), self.log.topic_ids(topics), self.name)

    def rows(self) -> list[ledger.LedgerRow]:
        """Return the ledger, its chain checked."""
        rows = self.stores.ledger.rows(-1, self.stores.ledger.head().seq)
        ledger.check_chain(rows)
        return rows


@pytest.fixture
def here(stack: Settings, tmp_path: Path) -> Iterator[Here]:
    name = f"gaps_{uuid.uuid4().hex[:8]}"
    for folder in ("src", "infrastructure"):
        (tmp_path / folder).symlink_to(REPOSITORY / folder)
    (tmp_path / "datasets").mkdir()
    text = (REPOSITORY / "datasets" / "landcover.yaml").read_text("utf-8")
    text = text.replace("dataset: landcover", f"dataset: {name}").replace("image-events", name)
    (tmp_path / "datasets" / f"{name}.yaml").write_text(text, "utf-8")
    declaration = load(tmp_path / "datasets" / f"{name}.yaml")
    settings = replace(stack, root=tmp_path)
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    with kafka.KafkaLog(settings.kafka_bootstrap) as log, cassandra.connect(settings) as store:
        store.apply_schema(declaration)
        yield Here(settings, declaration, log, store.stores(declaration), admin)
        store._session.define(f"DROP KEYSPACE {name}")
        admin.delete_topics([name])
    admin.close()
    for folder in ("batch", "dead"):
        shutil.rmtree(settings.home / folder / name, ignore_errors=True)


class Uncompared(dict):  # type: ignore[type-arg]
    """The truth per seq, which nobody asks for here: gap rows have none."""

    def __missing__(self, seq: int) -> dict[str, Any]:
        return self[0]  # type: ignore[no-any-return]


def speed_of(here: Here) -> RealSpeed:
    speed = RealSpeed(here.settings, here.declaration, here.log, here.stores)
    speed.truth = Uncompared(speed.truth)
    return speed


def test_retention_past_head_is_accepted_offset_by_offset(here: Here) -> None:
    speed = speed_of(here)
    speed.send(60)
    before = speed.count()
    speed.send(80)
    end = here.log.latest([here.name])
    here.admin.delete_records({TopicPartition(*p): stop - 1 for p, stop in end.items()})
    with pytest.raises(Gap, match=f"braid accept-gap {here.name}"):
        here.check()
    shown = here.braid("accept-gap", here.name, status=1)
    told = [m for m in shown["missing"] if m["reason"] == gaps.RETENTION]
    assert [(m["partition"], m["from"], m["to"]) for m in told] == [
        (p, before.end[t, p], end[t, p] - 1) for t, p in sorted(end)
    ]
    # nothing was archived, so what was counted can never be recomputed either
    assert shown["lost_rows"] == [[1, 1]]
    assert shown["records"] == sum(stop - 1 for stop in end.values())
    assert not shown["accepted"]
    assert here.stores.ledger.head().seq == before.seq
    assert "confirm with --yes" in here_without_json(here)

    assert here.braid("accept-gap", here.name, "--yes")["accepted"]
    head = here.stores.ledger.head()
    assert (head.kind, head.absent) == ("gap", sum(end.values()) - sum(before.end.values()) - 2)
    assert head.totals["good"] == 0
    here.check()
    assert here.braid("accept-gap", here.name)["missing"] == []
    row = speed.count()
    assert row.range.size == 2
    assert sum(r.range.size for r in here.rows()) == sum(end.values())
    assert gaps.as_dicts(gaps.through(here.stores.ledger, here.stores.ledger.head())) == shown["missing"]


def here_without_json(here: Here) -> str:
    environ = names(BRAID_HOME=str(here.settings.home), BRAID_ROOT=str(here.settings.root))
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "accept-gap", here.name], capture_output=True, text=True, check=False,
        env=environ | {"PYTHONPATH": str(REPOSITORY / "src")}, stdin=subprocess.DEVNULL, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout
    assert "counted, not archived" in done.stdout
    return done.stderr


def test_a_topic_created_again_and_partitions_added_go_on_under_what_is_there_now(here: Here) -> None:
    speed = speed_of(here)
    speed.send(30)
    speed.count()
    old = here.log.topic_ids([here.name])
    here.admin.delete_topics([here.name])
    deadline = time.monotonic() + 30
    while here.name in here.log.names():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    here.log.create(here.name, 2)
    speed.send(20)
    with pytest.raises(Gap, match="deleted and created again"):
        here.check()
    told = here.braid("accept-gap", here.name, "--yes")
    assert told["records"] is None
    assert {m["to"] for m in told["missing"] if m["reason"] == gaps.RECREATED} == {None}
    head = here.stores.ledger.head()
    assert head.topic_ids == here.log.topic_ids([here.name]) != old
    assert set(head.end.values()) == {0}
    assert speed.count().range.size == 20

    here.admin.create_partitions({here.name: 4})
    deadline = time.monotonic() + 30
    while len(here.log.partitions([here.name])) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with pytest.raises(Gap, match="partitions of a live topic were changed"):
        here.check()
    told = here.braid("accept-gap", here.name, "--yes")
    assert [(m["partition"], m["from"], m["to"], m["reason"]) for m in told["missing"]] == [
        (2, 0, 0, gaps.ADDED), (3, 0, 0, gaps.ADDED),
    ]  # fmt: skip
    assert told["records"] == 0
    speed.send(10)
    assert speed.count().range.size == 10
    assert [row.kind for row in here.rows()] == ["genesis", "micro", "gap", "micro", "gap", "micro"]


def test_a_topic_that_is_gone_is_no_gap_until_it_is_there_again(here: Here) -> None:
    speed = speed_of(here)
    speed.send(5)
    speed.count()
    here.admin.delete_topics([here.name])
    with pytest.raises(StoreUnavailable, match="to exist, got none"):
        while True:
            here.check()
    assert "expected topic" in here.braid("accept-gap", here.name, status=1)
    here.log.create(here.name, 1)


# ---- dead letters ----------------------------------------------------------------------------------------------------


def test_dead_letters_are_listed_shown_whole_and_sent_again_once(here: Here) -> None:
    """A record from an hour ago whose own time was still to come then: dead at its place, good when it is sent now."""
    here.admin.create_topics({here.name: {"num_partitions": 2, "configs": {"message.timestamp.type": "CreateTime"}}})
    here.admin.wait_for_topics([here.name])
    speed = speed_of(here)
    then = datetime.now(UTC) - timedelta(hours=1)
    late = (then + timedelta(minutes=20)).isoformat(timespec="seconds")
    # longer than what Cassandra keeps of a record
    event = json.loads(speed.record()) | {"timestamp": late, "note": "x" * 6000}
    was_future = json.dumps(event).encode()
    still_bad = speed.record(ndvi_mean="7.5")
    at_ms = int(then.timestamp() * 1000)
    with KafkaProducer(bootstrap_servers=here.settings.kafka_bootstrap, acks="all") as producer:
        for value in (was_future, still_bad):
            producer.send(here.name, value=value, key=b"k", partition=0, timestamp_ms=at_ms).get(10)
    first = speed.count()
    assert (first.good, first.dead) == (0, 2)
    write_dead(here, speed, first)

    found = here.braid("dead", "list", here.name)
    assert found["dead"] == 2
    assert {(r["reason"], r["count"]) for r in found["reasons"]} == {
        ("$.timestamp: later than 5 minutes after the append time", 1), ("$.ndvi_mean: expected a decimal in [-1, 1]", 1),
    }  # fmt: skip
    assert here.braid("dead", "list", here.name, "--reason", "ndvi", "--limit", "5")["listed"] == 1
    assert here.braid("dead", "list", here.name, "--since", "now-30m")["listed"] == 0

    place = f"{here.name}:0:0"
    shown = here.braid("dead", "show", here.name, place)
    assert shown["raw"] == was_future.decode()
    assert (shown["source"], shown["key"], shown["now"], shown["field"]) == ("kafka", "k", None, "timestamp")
    assert "expected a topic of" in here.braid("dead", "show", here.name, "another:0:0", status=2)
    assert "expected the record in Kafka or in the master" in here.braid(
        "dead", "show", here.name, f"{here.name}:0:99", status=1
    )

    dry = here.braid("dead", "replay", here.name, "--all", "--dry-run")
    assert dry["counts"] == {"would be sent": 1, "still bad": 1}
    assert sum(here.log.latest([here.name]).values()) == 2
    for again in (False, True):
        done = here.braid("dead", "replay", here.name, "--all")
        assert done["counts"] == {"sent before" if again else "sent": 1, "still bad": 1}
    assert here.braid("dead", "replay", here.name, place, "--again")["counts"] == {"sent": 1}
    second = speed.count()
    assert (second.good, second.copies, second.dead) == (1, 1, 0)
    assert all(row.conserves() for row in here.rows())
    assert here.braid("dead", "replay", here.name, "--reason", "ndvi", "--force")["counts"] == {"sent": 1}
    third = speed.count()
    assert (third.good, third.dead) == (0, 1)
    assert third.conserves()


def write_dead(here: Here, speed: RealSpeed, row: ledger.LedgerRow) -> None:
    """Write a row's dead letters, as the speed layer does."""
    letters = []
    for record in speed.held(row.range):
        found = records.parse(speed.topic, record.value, record.append_us)
        if isinstance(found, records.DeadLetter):
            raw = (record.value or b"")[: dead.SHOWN_BYTES]
            place = (record.topic, record.partition, record.offset)
            letters.append(DeadLetterRow(*place, record.append_us, found.reason, raw))
    here.stores.dead_letters.write(row.seq, row.attempt, letters)
