"""Rows F17, F18, F19: what the log or the stores no longer hold. Each stops by name, and goes on when a person says so."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable

from kafka import KafkaAdminClient
from kafka.structs import TopicPartition

from braid import cql
from braid.adapters.kafka import KafkaLog
from tests.services.faults.batch_rows import whole
from tests.services.faults.campaign import DATASET, SPEED, TOPIC, Campaign


def topic_changed(c: Campaign, moment: str) -> None:
    """F17: the topic is deleted and created again, or gets more partitions, under the running driver."""
    _archived(c)
    with KafkaLog(c.settings.kafka_bootstrap) as log:
        partitions = len(log.partitions([TOPIC]))
        if moment == "created again":
            _admin(c, lambda admin: admin.delete_topics([TOPIC]))
            c.eventually("the topic is gone", lambda: TOPIC not in log.names())
            log.create(TOPIC, partitions)
            c.load.renew()
        else:
            _admin(c, lambda admin: admin.create_partitions({TOPIC: 2 * partitions}))
            c.eventually("the topic has more partitions", lambda: len(log.partitions([TOPIC])) == 2 * partitions)
    c.hit(f"topic {moment}")
    c.load.go()
    word = "the topic was deleted and created again" if moment == "created again" else "partitions: expected"
    _stops_by_name(c, word)
    _accepted(c)


def retention(c: Campaign, moment: str) -> None:
    """F18: while the driver is down, records it has not counted are deleted."""
    _archived(c)
    c.keeper().stop([SPEED])
    c.load.go()
    time.sleep(3)  # of load that nobody counts
    c.load.pause()
    c.checks.read()
    head = c.stores.ledger.head()
    with KafkaLog(c.settings.kafka_bootstrap) as log:
        ends = log.latest([TOPIC])
        gone = {place: (head.end[place] + end) // 2 + 1 for place, end in ends.items() if end > head.end[place] + 1}
        assert gone
        _admin(c, lambda admin: admin.delete_records({TopicPartition(*place): to for place, to in gone.items()}))
        c.eventually("they are gone", lambda: all(log.earliest([TOPIC])[p] == to for p, to in gone.items()))
    c.hit("records deleted")
    c.keeper().start(SPEED)
    _stops_by_name(c, "deleted by retention")
    told = _accepted(c)
    named = {(m["partition"], m["from"], m["to"]) for m in told["missing"]}
    expected = {(p, head.end[topic, p], to) for (topic, p), to in gone.items()}
    assert expected == named, (expected, told)


def fragments_expired(c: Campaign, moment: str) -> None:
    """F19: fragments after the cut are gone: answers stop before them and say so; the next generation heals it."""
    c.load.pause()
    c.pipeline.caught_up(DATASET)
    # of this row of the matrix: answers as of earlier ones have been checked already
    after = max(c.stores.ledger.current().cut_seq, c.checks.row.seq)
    micro = [row for row in c.stores.ledger.rows(after, c.stores.ledger.head().seq) if row.good]
    row = micro[len(micro) // 2]
    seq = row.seq
    for view in c.declaration.fragment_views:
        table = cql.fragments(c.declaration, view)
        c.store._session.define(f"DELETE FROM {table.path} WHERE bucket = {row.bucket} AND seq = {seq}")
    c.hit("fragments expired")
    c.replaced("api", c.kill("api"))
    c.answered(
        f"an answer stops before seq {seq} and says why",
        lambda a: not a.complete and a.seq < seq and any("fragments" in m for m in a.missing),
    )
    done = c.batch()
    assert done.returncode == 0, done.stderr[-1000:]
    whole(c)


def _archived(c: Campaign) -> None:
    """Bring everything that is counted into a generation, so that nothing counted can be lost."""
    c.load.pause()
    c.pipeline.caught_up(DATASET)
    done = c.batch()
    assert done.returncode == 0, done.stderr[-1000:]
    whole(c)


def _admin(c: Campaign, ask: Callable[[KafkaAdminClient], object]) -> None:
    admin = KafkaAdminClient(bootstrap_servers=c.settings.kafka_bootstrap)
    try:
        ask(admin)
    finally:
        admin.close()


def _stops_by_name(c: Campaign, word: str) -> None:
    """The stream ends with an error that names what is gone and the remedy, and commits nothing."""
    log, begin = c.settings.logs / f"{SPEED}.log", c.log_bytes

    def told() -> str:
        text = log.read_text("utf-8", "replace")[begin:]
        return text if word in text and "accept-gap" in text else ""

    c.eventually(f"the stream says {word!r} and the remedy", told)


def _accepted(c: Campaign) -> dict:
    """Accept the gap, let the stream go on, and make a generation, with which answers are complete again."""
    c.load.pause()
    c.keeper().stop([SPEED])
    command = [str(c.settings.python), "-m", "cli.main", "accept-gap", DATASET, "--yes", "--json"]
    done = subprocess.run(command, env=c.environ(), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-1000:]
    told = json.loads(done.stdout)
    assert told["accepted"], told
    c.revive()
    c.streaming()
    c.load.pause()
    done = c.batch()
    assert done.returncode == 0, done.stderr[-1000:]
    whole(c)
    return told
