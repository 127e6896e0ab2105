"""A dataset written straight through the adapters, for tests of what only reads: no Spark, no producer.

Each micro-batch is folded by the reference fold and committed as the speed layer commits; generations are published by
the batch layer's own publication. The events are rows of the land-cover CSVs.
"""

import csv
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

from batch_layer.publish import Built, Stores, steps
from batch_layer.recompute import Recomputed
from braid import hiveql
from braid import ledger as chain
from braid.adapters import cassandra, hive
from braid.adapters.cassandra import Cassandra
from braid.adapters.clock import SystemClock
from braid.adapters.files import FileGenerations
from braid.adapters.hive import Hive, HiveCatalogue
from braid.adapters.kafka import KafkaLog
from braid.alerts import Alert
from braid.declaration import Declaration
from braid.generations import Audited
from braid.ledger import Current, LedgerRow, Range
from braid.ports import DeadLetterRow
from braid.settings import Settings
from braid.views import Fragment, fold, totals

MINUTE_US = 60_000_000
START_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z


@dataclass(frozen=True)
class Event:
    """What a fold needs of an event."""

    id64: int
    event_us: int
    values: dict


def patches(data: Path, count: int, every_us: int = 10_000_000) -> list[Event]:
    """Return the first patches of data/landcover as events, one each `every_us` from the start."""
    folder = data / "landcover"
    names = {row["class_id"]: row["class_name"] for row in _rows(folder / "classes.csv")}
    classes = {row["image_id"]: names[row["class_id"]] for row in _rows(folder / "images.csv")}
    bands = {row["image_id"]: row for row in _rows(folder / "spectral_data.csv")}
    events = []
    for i, row in enumerate(_rows(folder / "ndvi_stats.csv")[:count]):
        measured = {**row, **bands[row["image_id"]]}
        values = {k: int(Decimal(v).scaleb(6)) for k, v in measured.items() if k != "image_id"}
        values |= {"image_id": row["image_id"], "class_name": classes[row["image_id"]]}
        events.append(Event((i + 1) * 0x9E3779B97F4A7C15 % 2**64, START_US + i * every_us, values))
    return events


def _rows(path: Path) -> list[dict]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@dataclass
class Seeded:
    """A dataset in the real stores that a test writes to; remove() drops it again."""

    settings: Settings
    declaration: Declaration
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cassandra: Cassandra = cassandra.connect(self.settings)
        self.cassandra.apply_schema(self.declaration)
        self.stores = self.cassandra.stores(self.declaration)
        self.hive: Hive = hive.connect(self.settings)
        self.log = KafkaLog(self.settings.kafka_bootstrap)
        self.topic = self.declaration.topics[0].name
        self.place = (self.topic, 0)

    def genesis(self) -> None:
        """Create the topic and row 0 of the ledger."""
        self.log.create(self.topic, 1)
        row = chain.genesis(
            self.log.topic_ids([self.topic]), [self.place], self.declaration.hash, self.declaration.text, "seed"
        )
        now_us = SystemClock().now_us()
        row = replace(row, committed_at_us=now_us)
        self.stores.ledger.create(row, Current(0, 0, row.end, self.declaration.hash, "{}", now_us))

    def commit(
        self, events: list[Event], alerts: list[Alert] | None = None, dead: dict[str, bytes] | None = None
    ) -> LedgerRow:
        """Commit a micro-batch; `dead`: reason → bytes of records that were set aside, the last of its range."""
        told, head = alerts or [], self.stores.ledger.head()
        offered = Range(dict(head.end), {self.place: head.end[self.place] + len(events) + len(dead or {})})
        views = {view.name: fold(view, events) for view in self.declaration.fragment_views}
        sums = {name: totals(view) for name, view in views.items()}
        bucket, held = chain.next_bucket(head)
        row = LedgerRow(
            head.seq + 1, "micro", chain.attempt_of(offered, self.declaration.hash), "seed", offered, good=len(events), dead=len(dead or {}),
            fp=sum(e.id64 for e in events) % 2**64, view_n={k: n for k, (n, _) in sums.items()},
            view_fp={k: fp for k, (_, fp) in sums.items()}, bucket=bucket,
            bucket_rows=held + sum(map(len, views.values())), alerts=len(told), definition=self.declaration.hash,
            topic_ids=head.topic_ids, committed_at_us=SystemClock().now_us(),
        )  # fmt: skip
        for name, view in views.items():
            written = [Fragment(row.seq, start, key, state) for (start, key), state in view.items()]
            self.stores.fragments.write(self.declaration.view(name), bucket, row.attempt, written)
        self.stores.alerts.write(bucket, row.attempt, [replace(a, seq=row.seq) for a in told])
        letters = [
            DeadLetterRow(*self.place, head.end[self.place] + len(events) + i, row.committed_at_us, reason, raw)
            for i, (reason, raw) in enumerate((dead or {}).items())
        ]
        self.stores.dead_letters.write(row.seq, row.attempt, letters)
        self.events += events  # before the row: whoever reads it compares with what is here
        self.stores.ledger.append(row := chain.with_totals(head, row))
        return row

    def alert(self, event: Event, offset: int) -> Alert:
        """Return an alert on an event; its seq is set when it is committed."""
        rule = self.declaration.alerts[0]
        values = {name: event.values[name] for name in (rule.of, *rule.show)}
        key = tuple(event.values[c] for c in rule.by)
        return Alert(rule.name, 0, *self.place, offset, event.event_us, key, values, 2.5, 40, 0.2, 0.05)

    def publish(self) -> Current:
        """Publish a generation of everything up to head, as the batch layer does."""
        states = {view.name: fold(view, self.events) for view in self.declaration.views}
        catalogue = HiveCatalogue(self.hive, self.declaration)
        files = FileGenerations(self.settings.warehouse_dir, self.declaration)
        stores = Stores(files, catalogue, self.stores.ledger, SystemClock())
        built = Built(self.stores.ledger.head(), (), Recomputed(states, {}, len(self.events)), Audited())
        for _ in steps(stores, self.declaration, built, self.stores.ledger.current()):
            pass
        return self.stores.ledger.current()

    def close(self) -> None:
        """Drop the dataset and close what is open."""
        self.hive.rows(f"DROP DATABASE IF EXISTS {hiveql.name(self.declaration.dataset)} CASCADE", "dropping")
        self.cassandra._session.define(f"DROP KEYSPACE IF EXISTS {self.declaration.dataset}")
        self.hive.close()
        self.log.close()
        self.cassandra.close()
