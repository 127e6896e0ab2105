"""The speed layer's side of a dataset in memory, by plain loops: a log, its ledger, fragments, and what is the truth."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from braid import ledger as chain
from braid import records, views
from braid.adapters.memory import FixedClock, MemoryCatalogue, MemoryFragments, MemoryLedger, MemoryLog, Record
from braid.declaration import Declaration
from braid.ledger import Current, LedgerRow, Range
from braid.views import Fragment, View, totals

NOW_US = 1_780_000_000_000_000


class Speed:
    """Counts a log in memory, micro-batch by micro-batch, as the protocol says."""

    def __init__(self, declaration: Declaration, seed: int = 1, partitions: int = 2, **stores: Any) -> None:
        """Stand before an empty topic; `stores` may be real ones: log, ledger, fragments."""
        self.declaration = declaration
        self.topic = declaration.topics[0]
        self.random = random.Random(seed)
        self.log = stores.get("log") or MemoryLog()
        self.ledger = stores.get("ledger") or MemoryLedger()
        self.fragments = stores.get("fragments") or MemoryFragments()
        self.catalogue, self.clock = MemoryCatalogue(), FixedClock(NOW_US)
        self.names = [topic.name for topic in declaration.topics]
        for name in self.names:
            self.log.create(name, partitions)
        names = self.names
        row = chain.genesis(
            self.log.topic_ids(names), self.log.latest(names), declaration.hash, declaration.text, "speed"
        )
        self.ledger.create(row, Current(0, 0, row.end, declaration.hash))
        self.seen: set[tuple[int, int]] = set()
        self.truth: dict[int, dict[str, View]] = {0: {v.name: {} for v in declaration.views}}
        self.sent: list[bytes] = []

    def send(self, count: int) -> None:
        """Append records: most good, some late, some copies of older ones, some no record of the dataset, some holes."""
        for _ in range(count):
            self.append(*self.next())

    def next(self) -> tuple[bytes | None, bool]:
        """Return the next record's value, and whether an offset without a record comes before it."""
        kind = self.random.random()
        if kind < 0.08 and self.sent:
            value: bytes | None = self.random.choice(self.sent)
        elif kind < 0.12:
            value = self.random.choice(
                [b"", None, b"[1]", b'{"image_id": 7}', b"\xff\xfe", self.record(ndvi_mean="2.5")]
            )
        else:
            value = self.record()
            self.sent.append(value)
        return value, kind > 0.97

    def append(self, value: bytes | None, after_a_hole: bool) -> None:
        """Append one record to some partition of the first topic."""
        self.append_to(self.topic.name, value, after_a_hole)

    def append_to(self, topic: str, value: bytes | None, after_a_hole: bool) -> None:
        """Append one record to some partition of a topic."""
        partition = self.random.randrange(len(self.log.latest([topic])))
        if after_a_hole:
            self.log.skip(topic, partition)
        self.log.send(topic, partition, value, NOW_US + len(self.sent))

    def held(self, wanted: Range) -> Iterator[Record]:
        """Yield the records of a range, in ledger order."""
        return self.log.read(wanted)

    def record(self, **changed: str) -> bytes:
        """Return one record; its numbers are texts, so that none passes through a float."""
        r, names = self.random, self.topic.fields["class_name"].values
        taken = datetime(2026, 5, 20, tzinfo=UTC) - timedelta(seconds=r.randrange(86_400 * r.choice([1, 60])))
        numbers = {
            "ndvi_mean": f"{r.uniform(-1, 1):.{r.randrange(1, 9)}f}", "ndvi_std": "0.1", "ndvi_min": "-0.5", "ndvi_max": "0.75",
            "green_mean": f"{r.uniform(0, 255):.3f}", "red_mean": f"{r.randrange(256)}",
        } | changed  # fmt: skip
        values = {
            "image_id": f"img-{r.randrange(10**6)}",
            "class_name": r.choice(names),
            "timestamp": taken.isoformat(),
        }
        plain = ", ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in values.items())
        return ("{" + plain + "".join(f', "{k}": {v}' for k, v in numbers.items()) + "}").encode()

    def count(self, some: int | None = None) -> LedgerRow:
        """Commit one micro-batch of what was appended since head, or of at most `some` offsets a partition."""
        head, names = self.ledger.head(), self.names
        latest = self.log.latest(names)
        end = {p: min(latest[p], head.end[p] + (some or 10**9)) for p in latest}
        wanted = Range(head.end, end)
        found = [(r, records.parse(self.declaration.topic(r.topic), r.value, r.append_us)) for r in self.held(wanted)]
        good = [(r, event) for r, event in found if isinstance(event, records.Event)]
        fresh = []
        for record, event in good:
            identity = (event.id64, event.salted64)
            if self.declaration.dedupe == "none" or identity not in self.seen:
                self.seen.add(identity)
                fresh.append((record, event))
        seq = head.seq + 1
        states = {}
        for v in self.declaration.views:
            mine = [(r, event) for r, event in fresh if r.topic in v.topics]
            places = [(seq, r.topic, r.partition, r.offset) for r, _ in mine]
            states[v.name] = views.fold(v, [event for _, event in mine], places)
        sums = {v.name: totals(states[v.name]) for v in self.declaration.fragment_views}
        attempt = chain.attempt_of(wanted, self.declaration.hash)
        for v in self.declaration.fragment_views:
            self.fragments.write(v, 0, attempt, [Fragment(seq, w, k, s) for (w, k), s in states[v.name].items()])
        row = LedgerRow(
            seq, "micro", attempt, "speed", wanted, good=len(fresh), copies=len(good) - len(fresh),
            dead=len(found) - len(good), absent=wanted.size - len(found), fp=sum(e.id64 for _, e in fresh) % 2**64,
            view_n={name: n for name, (n, _) in sums.items()}, view_fp={name: fp for name, (_, fp) in sums.items()},
            definition=self.declaration.hash, topic_ids=head.topic_ids,
        )  # fmt: skip
        self.ledger.append(chain.with_totals(head, row))
        self.truth[seq] = {name: views.merge_views([self.truth[head.seq][name], states[name]]) for name in states}
        return row

    def lose(self) -> LedgerRow:
        """Commit a gap row: retention deletes what was appended since head, before anybody read it."""
        head, names = self.ledger.head(), self.names
        gone = Range(head.end, self.log.latest(names))
        for place, end in gone.end.items():
            self.log.trim(place, end)
        attempt = chain.attempt_of(gone, self.declaration.hash)
        row = LedgerRow(
            head.seq + 1, "gap", attempt, "speed", gone, absent=gone.size, definition=self.declaration.hash, topic_ids=head.topic_ids
        )  # fmt: skip
        self.ledger.append(chain.with_totals(head, row))
        self.truth[row.seq] = self.truth[head.seq]
        return row

    def read(self, spark: SparkSession, wanted: Range) -> DataFrame:
        """Return the records of a range as Kafka's static frame would."""
        found = [(r.topic, r.partition, r.offset, r.append_us, r.value) for r in self.log.read(wanted)]
        kinds = [pa.string(), pa.int32(), pa.int64(), pa.timestamp("us", "UTC"), pa.binary()]
        names = ["topic", "partition", "offset", "timestamp", "value"]
        columns = zip(*found, strict=True) if found else [[]] * 5
        return spark.createDataFrame(pa.table([pa.array(c, k) for c, k in zip(columns, kinds, strict=True)], names))
