"""The floor: Kafka → a dict → Cassandra, in one Python process, without Spark, ledger or recovery.

It counts each id once, while it lives, and upserts the totals that changed after every poll. A crash loses it all.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import orjson
from cassandra.concurrent import execute_concurrent_with_args
from kafka import KafkaConsumer

from bench import events
from bench.arms import tables
from braid.adapters.cassandra.session import opened
from braid.instants import instant_us

_LOOK_S = 1.0


def main() -> None:
    """Count until the process is ended; a line a second says how far it is."""
    spec: dict[str, Any] = json.loads(sys.argv[1])
    store = opened(spec["cassandra_host"], spec["cassandra_port"])
    tables.create(store, spec["table"])
    session = store._session
    insert = session.prepare(tables.UPSERT.format(table=spec["table"]))
    consumer = KafkaConsumer(
        spec["topic"], bootstrap_servers=spec["bootstrap"], auto_offset_reset="earliest", enable_auto_commit=False,
        isolation_level="read_committed", max_poll_records=50_000, fetch_max_wait_ms=5,
    )  # fmt: skip
    seen: set[str] = set()
    totals: dict[tuple[str, int], events.State] = {}
    read, said_s = 0, 0.0
    windows: dict[str, int] = {}
    while True:
        polled = consumer.poll(timeout_ms=50)
        changed: set[tuple[str, int]] = set()
        for records in polled.values():
            read += len(records)
            for record in records:
                try:
                    event = orjson.loads(record.value)
                    id_, at = event["image_id"], event["timestamp"]
                except (ValueError, KeyError, TypeError):
                    continue
                if id_ in seen:
                    continue
                seen.add(id_)
                start = windows.get(at)
                if start is None:
                    start = windows[at] = instant_us(at) // events.WINDOW_US * events.WINDOW_US
                cell, x = (event["class_name"], start), round(event["ndvi_mean"] * 1_000_000)
                one, held = (1, x, x * x, x, x), totals.get(cell)
                totals[cell] = events.merged(held, one) if held else one
                changed.add(cell)
        if changed:
            rows = [(name, start, *totals[name, start]) for name, start in changed]
            execute_concurrent_with_args(session, insert, rows, concurrency=64)
        if time.monotonic() - said_s > _LOOK_S:
            said_s = time.monotonic()
            sys.stdout.write(json.dumps({"read": read}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
