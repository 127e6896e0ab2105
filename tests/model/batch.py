"""The batch layer as far as the protocol meets it: archive, recompute, audit, publish, each a step that may be the last.

The folding is the core's reference (`views.fold`), which is another than the driver's; the steps and their order are
those of `batch_layer`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from braid import views
from braid.adapters.memory import audit_of
from braid.errors import AuditFailed, LostRace
from braid.ledger import Current, LedgerRow
from braid.views import View
from tests.model.events import DECLARATION, Event
from tests.model.stores import Fuse, FusedLedger, Stores


def steps(stores: Stores, events: dict[int, list[Event | None]], fuse: Fuse) -> Iterator[str]:
    """Run one batch job, yielding after every step."""
    ledger = FusedLedger(stores.ledger, fuse)
    current = ledger.current()
    cut = ledger.head()
    yield "read"
    if cut.seq == current.cut_seq:
        return
    yield from archive(stores, events, cut)
    runs = stores.master.chain(cut.seq)
    counted = first_of_each_id(stores.master.records(runs))
    states: dict[str, View] = {v.name: views.fold(v, [e for _, e in counted]) for v in DECLARATION.views}
    yield "views"
    audit(stores, counted, ledger.rows(current.cut_seq, cut.seq))
    yield "audited"
    gen = max(current.gen, stores.generations.newest) + 1
    stores.generations.hold(gen, states)
    yield "partition_added"
    fresh = Current(gen, cut.seq, cut.end, cut.definition, audit_of(states), stores.clock.now_us())
    ledger.publish(fresh, current.gen)
    yield "published"


def archive(stores: Stores, events: dict[int, list[Event | None]], cut: LedgerRow) -> Iterator[str]:
    """Bring the master up to the cut, from the end of its newest run."""
    chain = stores.master.chain(cut.seq)
    after = chain[-1][1] if chain else 0
    if after == cut.seq:
        return
    records = []
    for row in stores.ledger.rows(after, cut.seq):
        read = [events[r.partition][r.offset] for r in stores.log.read(row.range)]
        if len(read) != row.range.size - row.absent:
            raise AuditFailed(
                f"archive: seq {row.seq}: {len(read)} records of {row.range.size} less {row.absent} absent"
            )
        records += [(row.seq, e) for e in read if e is not None]
    yield "parquet"
    if (after, cut.seq) in stores.master.runs:
        raise LostRace(f"archive: cut {cut.seq} is there")  # a rename that fails when the target exists
    stores.master.runs[after, cut.seq] = records
    yield "after_rename"


def first_of_each_id(records: Iterator[tuple[int, Event]]) -> list[tuple[int, Event]]:
    """Reject first, dedupe second, in ledger order."""
    met: dict[bytes, tuple[int, Event]] = {}
    for seq, event in sorted(records, key=lambda r: (r[0], r[1].partition, r[1].offset)):
        if event.reason is None:
            met.setdefault(event.id, (seq, event))
    return list(met.values())


def audit(stores: Stores, counted: list[tuple[int, Event]], rows: list[LedgerRow]) -> None:
    """Compare fragments with partials over the same offsets, per seq, where the fragments are whole."""
    by_seq = {seq: [e for _, e in part] for seq, part in groupby(counted, key=lambda r: r[0])}
    for spec in DECLARATION.fragment_views:
        fragments = stores.fragments.read(spec, rows)
        expired = set(views.not_whole(spec.name, rows, fragments))
        for row in rows:
            if row.seq in expired:
                continue
            partial = views.fold(spec, by_seq.get(row.seq, []))
            written = {(f.window_start_us, f.key): f.state for f in fragments if f.seq == row.seq}
            if partial != written:
                raise AuditFailed(f"{spec.name}: seq {row.seq}: batch {partial}, speed {written}")
