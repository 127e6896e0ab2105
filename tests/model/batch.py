"""The batch layer as far as the protocol meets it: archive, recompute, audit, publish, each a step that may be the last.

The audit is the shipping one. A run adds to the served generation, as the shipping one does. The folding is the core's reference (`views.fold`), which is another than the driver's;
the steps and their order are those of `batch_layer`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from batch_layer.archive import runs
from batch_layer.audit import Counts, Own, audit
from braid import views
from braid.errors import AuditFailed, Gap, LostRace
from braid.generations import audit_text, sums_of_view
from braid.ledger import Current, LedgerRow
from braid.views import View
from tests.model.events import DECLARATION, TOPIC, Event
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
    records = list(stores.master.records(runs))
    counted = first_of_each_id(records)
    states = added(stores, current, counted)
    yield "views"
    rows = ledger.rows(current.cut_seq, cut.seq)
    audited = audit(DECLARATION, rows, own(records, counted, current.cut_seq), stores.fragments)
    yield "audited"
    gen = max(current.gen, stores.generations.newest) + 1
    stores.generations.hold(gen, states)
    yield "partition_added"
    sums = {name: sums_of_view(DECLARATION.view(name), view) for name, view in states.items()}
    fresh = Current(gen, cut.seq, cut.end, cut.definition, audit_text(sums, audited), stores.clock.now_us())
    ledger.publish(fresh, current.gen)
    yield "published"


def added(stores: Stores, current: Current, counted: list[tuple[int, Event]]) -> dict[str, View]:
    """Return the served generation's states and those of what came since; everything anew where there is none yet."""
    if current.gen == 0:
        return {v.name: views.fold(v, [e for _, e in counted]) for v in DECLARATION.views}
    new = [e for seq, e in counted if seq > current.cut_seq]
    return {
        v.name: views.merge_views([stores.generations.view(current, v), views.fold(v, new)]) for v in DECLARATION.views
    }


def archive(stores: Stores, events: dict[int, list[Event | None]], cut: LedgerRow) -> Iterator[str]:
    """Bring the master up to the cut, from the end of its newest run."""
    chain = stores.master.chain(cut.seq)
    after = chain[-1][1] if chain else 0
    if after == cut.seq:
        return
    if stores.log.topic_ids([TOPIC]) != dict(cut.topic_ids):
        raise Gap("archive: the topic was created again")
    records = []
    rows = stores.ledger.rows(after, cut.seq)
    for row in [row for run in runs(rows) for row in run]:
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


def first_of_each_id(records: Iterable[tuple[int, Event]]) -> list[tuple[int, Event]]:
    """Reject first, dedupe second, in ledger order, by the id itself and not by its hash."""
    met: dict[object, tuple[int, Event]] = {}
    for seq, event in sorted(records, key=lambda r: (r[0], r[1].partition, r[1].offset)):
        if event.reason is None:
            place = (seq, event.partition, event.offset)  # a topic created again has the same offsets once more
            met.setdefault(event.name if DECLARATION.dedupe == "by_id" else place, (seq, event))
    return list(met.values())


def own(records: list[tuple[int, Event]], counted: list[tuple[int, Event]], after: int) -> Own:
    """Return what the batch layer found in the rows after a seq."""
    by_seq: dict[int, list[Event]] = {}
    for seq, event in counted:
        by_seq.setdefault(seq, []).append(event)
    held: dict[int, list[Event]] = {}
    for seq, event in records:
        held.setdefault(seq, []).append(event)
    counts = {
        seq: Counts(
            records=len(events), good=len(by_seq.get(seq, [])), dead=sum(e.reason is not None for e in events),
            fp=sum(e.id64 for e in by_seq.get(seq, [])) % 2**64,
        )
        for seq, events in held.items()
        if seq > after
    }  # fmt: skip
    partials = {
        v.name: {seq: views.fold(v, events) for seq, events in by_seq.items() if seq > after}
        for v in DECLARATION.fragment_views
    }
    return Own(counts, partials)
