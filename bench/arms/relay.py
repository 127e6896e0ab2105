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


class Totals:
    """States by (class, start of the window), of each id once."""

    def __init__(self) -> None:
        self.states: dict[tuple[str, int], events.State] = {}
        self._seen: set[str] = set()
        self._windows: dict[str, int] = {}

    def add(self, raw: bytes) -> tuple[str, int] | None:
        """Count one record; return where, None for a copy and for what cannot be read."""
        try:
            event = orjson.loads(raw)
            id_, at, name, value = event["image_id"], event["timestamp"], event["class_name"], event["ndvi_mean"]
        except (ValueError, KeyError, TypeError):
            return None
        if id_ in self._seen:
            return None
        self._seen.add(id_)
        start = self._windows.get(at)
        if start is None:
            start = self._windows[at] = instant_us(f"{at}Z") // events.WINDOW_US * events.WINDOW_US
        cell, x = (name, start), round(value * 1_000_000)
        one, held = (1, x, x * x, x, x), self.states.get(cell)
        self.states[cell] = events.merged(held, one) if held else one
        return cell


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
    totals, read, said_s = Totals(), 0, 0.0
    while True:
        polled = consumer.poll(timeout_ms=50)
        changed: set[tuple[str, int]] = set()
        for records in polled.values():
            read += len(records)
            changed |= {cell for record in records if (cell := totals.add(record.value))}
        if changed:
            rows = [(*cell, *totals.states[cell]) for cell in changed]
            execute_concurrent_with_args(session, insert, rows, concurrency=64)
        if time.monotonic() - said_s > _LOOK_S:
            said_s = time.monotonic()
            sys.stdout.write(json.dumps({"read": read}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
