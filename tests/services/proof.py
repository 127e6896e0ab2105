"""A dataset whose every record really lies in Kafka and in a master, so that the second path can count it again.

Micro-batches are committed as the speed layer commits them, from what the reference reads in the bytes; the master is
written in the archive's layout by pyarrow. No Spark.
"""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from braid import ledger as chain
from braid import records
from braid.adapters import durable
from braid.adapters.clock import SystemClock
from braid.adapters.kafka import Seen, between
from braid.adapters.kafka_producer import EventProducer
from braid.adapters.master import MANIFEST, TALLY, Cut, Master, tally_text, topic_folder
from braid.ledger import LedgerRow, Range
from braid.views import Fragment, fold, totals
from tests.services.seed import Seeded


@dataclass
class Proof(Seeded):
    """`send` puts records into Kafka, `count` commits those not yet counted, `archive` writes a cut up to head."""

    seen: set[tuple] = field(default_factory=set)

    def send(self, raws: list[bytes]) -> None:
        """Send raw records, acknowledged."""
        with EventProducer(self.settings.kafka_bootstrap) as producer:
            deliveries = [producer.send(self.topic, None, raw, 0) for raw in raws]
        assert all(d.is_done and d.exception is None for d in deliveries)

    def held(self, start: int, end: int) -> list[Seen]:
        """Return records of the topic as Kafka holds them."""
        found = [
            r
            for _, some in between(self.settings.kafka_bootstrap, {self.place: start}, {self.place: end})
            for r in some
        ]
        return sorted(found)

    def count(self, most: int = 10**9) -> LedgerRow:
        """Commit the next records as one micro-batch."""
        head = self.stores.ledger.head()
        start = head.end[self.place]
        end = min(self.log.latest([self.topic])[self.place], start + most)
        found = self.held(start, end)
        parsed = [records.parse(self.declaration.topics[0], r.value, r.append_us) for r in found]
        read = [e for e in parsed if isinstance(e, records.Event)]
        events = [e for e in read if (i := self._id(e)) not in self.seen and not self.seen.add(i)]
        offered = Range(dict(head.end), {self.place: end})
        views = {view.name: fold(view, events) for view in self.declaration.fragment_views}
        sums = {name: totals(view) for name, view in views.items()}
        bucket, rows = chain.next_bucket(head)
        row = LedgerRow(
            head.seq + 1, "micro", chain.attempt_of(offered, self.declaration.hash), "proof", offered,
            good=len(events), copies=len(read) - len(events), dead=len(found) - len(read), absent=end - start - len(found),
            fp=sum(e.id64 for e in events) % 2**64, view_n={k: n for k, (n, _) in sums.items()},
            view_fp={k: fp for k, (_, fp) in sums.items()}, bucket=bucket,
            bucket_rows=rows + sum(map(len, views.values())), definition=self.declaration.hash,
            topic_ids=head.topic_ids, committed_at_us=SystemClock().now_us(),
        )  # fmt: skip
        for name, view in views.items():
            written = [Fragment(row.seq, at, key, state) for (at, key), state in view.items()]
            self.stores.fragments.write(self.declaration.view(name), bucket, row.attempt, written)
        self.stores.ledger.append(row := chain.with_totals(head, row))
        self.events += events
        return row

    def _id(self, event: records.Event) -> tuple:
        return tuple(event.values[name] for name in self.declaration.topics[0].event_id)

    @property
    def master(self) -> Master:
        """The dataset's master."""
        return Master(self.settings.warehouse_dir, self.declaration.dataset)

    def archive(self) -> Cut:
        """Write the records after the newest cut up to head as one cut."""
        cuts, head = self.master.cuts(), self.stores.ledger.head()
        rows = self.stores.ledger.rows(cuts[-1].seq if cuts else 0, head.seq)
        start, stage = rows[0].range.start, None
        self.master.path.mkdir(parents=True, exist_ok=True)
        stage = durable.stage(self.master.path, f"cut={head.seq}")
        found = self.held(start[self.place], head.end[self.place])
        folder = stage / topic_folder(self.topic)
        folder.mkdir()
        write_master(folder / "records-00000.parquet", self.topic, found)
        tally = {r.seq: (r.range.size - r.absent, r.dead) for r in rows}
        (stage / TALLY).write_text(tally_text(tally), encoding="utf-8")
        cut = Cut(
            self.declaration.dataset, rows[0].seq - 1, head.seq, start, head.end, self.declaration.hash, len(found),
            cuts[-1].digest if cuts else "", durable.sums(stage),
        )  # fmt: skip
        (stage / MANIFEST).write_text(cut.text(), encoding="utf-8")
        durable.rename_new(stage, self.master.path / cut.folder)
        return cut

    def reseal(self, cut: Cut) -> None:
        """Write a cut's manifest anew, so that its sums fit whatever its files hold now."""
        folder = self.master.path / cut.folder
        files = {name: held for name, held in durable.sums(folder).items() if name != MANIFEST}
        (folder / MANIFEST).write_text(replace(cut, files=files).text(), encoding="utf-8")


def write_master(path: Path, topic: str, found: list[Seen]) -> None:
    """Write records in those columns of the master that the second path reads."""
    columns = {
        "topic": pa.array([topic] * len(found)), "partition": pa.array([r.partition for r in found], pa.int32()),
        "offset": pa.array([r.offset for r in found], pa.int64()),
        "append_us": pa.array([r.append_us for r in found], pa.int64()),
        "raw": pa.array([r.value for r in found], pa.binary()),
    }  # fmt: skip
    pq.write_table(pa.table(columns), path, compression="zstd")


def image(number: int, class_name: str = "red soil", ndvi: str = "0.5", minute: int = 0) -> bytes:
    """Return one good record."""
    at = f"2026-01-01T{minute // 60:02d}:{minute % 60:02d}:00Z"
    return (
        f'{{"image_id": "P-{number}", "class_name": {json.dumps(class_name)}, "timestamp": "{at}", "ndvi_mean": {ndvi}, '
        '"ndvi_std": 0.1, "ndvi_min": -0.5, "ndvi_max": 0.9, "green_mean": 12.5}'
    ).encode()
