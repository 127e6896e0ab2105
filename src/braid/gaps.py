"""Gaps: records that are gone before they could be counted or archived, and how the ledger says so.

Retention can pass the ledger's head, a topic can be deleted and created again, partitions can be added: in each case the
chain of ranges cannot go on by itself, and every job stops by name. What goes on is a ledger row of kind `gap`, added by
a person (`braid accept-gap`) with the same compare-and-set as any other row. It moves head to where the log can be read
again, holds not one record, and its text names every offset that was given up and why.

Offsets are those of one topic *id*: a topic created again begins anew, so in a gap row (and nowhere else) a partition of
a topic with another id, or one that was not there before, begins at 0 and not where the row before ended.

A gap may also take what was counted but not yet archived: then neither the batch layer nor the store of seen ids can
ever be built again with it. Such ledger rows are *lost* as a whole, from the gap row on: their fragments count no more,
their ids are forgotten (an event that is sent again counts), the running totals move their records to `absent`. So the
answer as of the gap row or later is again what a recompute of all that is left would give. As of an earlier seq it
stays what it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from braid import ledger
from braid.ledger import LedgerRow, Offsets, Range
from braid.ports import Ledger

RETENTION = "deleted by retention before it was counted"
RECREATED = "the topic was deleted and created again"
ADDED = "the partition was added: nothing is lost"
UNARCHIVED = "counted, but gone before it was archived"


@dataclass(frozen=True, slots=True)
class Loss:
    """Offsets [start, end) of one partition that were given up; `end` is None where nobody can know it any more.

    That is so for a topic that was deleted: how far it had come went with it.
    """

    topic: str
    partition: int
    start: int
    end: int | None
    reason: str

    @property
    def records(self) -> int | None:
        """How many offsets are lost, None when it cannot be known."""
        return None if self.end is None else self.end - self.start


@dataclass(frozen=True, slots=True)
class Accepted:
    """What one gap row gave up: losses, and the ledger rows (first, last) that are lost as a whole."""

    seq: int
    committed_at_us: int
    losses: tuple[Loss, ...]
    lost: tuple[tuple[int, int], ...] = ()


def find(head: LedgerRow, earliest: Offsets, topic_ids: Mapping[str, str]) -> tuple[Loss, ...]:
    """Return what the log no longer holds after head, in the order of partitions; empty when the stream can go on.

    Parameters
    ----------
    earliest : the first offset still held, per partition
    topic_ids : as the broker has them now

    Examples
    --------
    >>> head = LedgerRow(4, "micro", 1, "w", Range({("t", 0): 0}, {("t", 0): 7}), topic_ids={"t": "one"})
    >>> [(loss.start, loss.end) for loss in find(head, {("t", 0): 9}, {"t": "one"})]
    [(7, 9)]
    >>> [(loss.start, loss.end) for loss in find(head, {("t", 0): 0}, {"t": "two"})]
    [(7, None)]
    >>> [(loss.partition, loss.records) for loss in find(head, {("t", 0): 0, ("t", 1): 0}, {"t": "one"})]
    [(1, 0)]
    """
    found = []
    for topic, partition in sorted({*head.end, *earliest}):
        place = (topic, partition)
        first, end = earliest.get(place), head.end.get(place)
        same = topic_ids.get(topic) == head.topic_ids.get(topic)
        if end is not None and (not same or first is None):
            found.append(Loss(topic, partition, end, None, RECREATED))
        if first is None:
            continue
        if end is None and same:
            found.append(Loss(topic, partition, 0, first, RETENTION if first else ADDED))
        start = end if end is not None and same else 0
        if (end is not None or not same) and first > start:
            found.append(Loss(topic, partition, start, first, RETENTION))
    return tuple(found)


def lost_rows(rows: Iterable[LedgerRow], earliest: Offsets, topic_ids: Mapping[str, str]) -> tuple[LedgerRow, ...]:
    """Return those of the rows that are not archived yet whose records the log no longer holds.

    And the rows after them that hold copies: what those are copies of may be gone, and then they are none.

    Parameters
    ----------
    rows : the ledger rows after the newest cut of the master, up to and with head
    """
    rows = tuple(rows)
    before = lost(rows)

    def gone(row: LedgerRow) -> bool:
        return any(
            topic_ids.get(topic) != row.topic_ids.get(topic) or earliest.get((topic, partition), start + 1) > start
            for topic, partition, start, _ in row.range.partitions()
        )

    found: list[LedgerRow] = []
    for row in rows:
        if row.kind != "gap" and row.seq not in before and (gone(row) or (found and row.copies)):
            found.append(row)
    return tuple(found)


def row_of(
    head: LedgerRow,
    earliest: Offsets,
    topic_ids: Mapping[str, str],
    unarchived: Sequence[LedgerRow],
    writer: str,
    now_us: int,
) -> LedgerRow:
    """Return the gap row that accepting would commit: what comes after it can be read.

    Parameters
    ----------
    unarchived : the ledger rows after the newest cut of the master, up to and with head
    now_us : microseconds UTC, for people
    """
    gone = lost_rows(unarchived, earliest, topic_ids)
    start = {p: _begin(head, p, topic_ids) for p in earliest}
    given_up = Range(start, {p: max(start[p], first) for p, first in earliest.items()})
    # another attempt than that of a micro-batch of the same range, whose writes may be there: they stay invisible
    attempt = ledger.attempt_of(given_up, f"gap {head.definition}")
    losses = (*find(head, earliest, topic_ids), *_of_rows(gone))
    row = LedgerRow(
        head.seq + 1, "gap", attempt, writer, given_up, absent=given_up.size,
        bucket=head.bucket, bucket_rows=head.bucket_rows, definition=head.definition, topic_ids=dict(topic_ids),
        text=_text(losses, gone, head.totals.get("gap", 0)), committed_at_us=now_us,
    )  # fmt: skip
    return replace(row, totals=_totals(head, row, gone))


def _begin(head: LedgerRow, place: ledger.Partition, topic_ids: Mapping[str, str]) -> int:
    same = topic_ids.get(place[0]) == head.topic_ids.get(place[0])
    return head.end.get(place, 0) if same else 0


def _totals(head: LedgerRow, row: LedgerRow, gone: Sequence[LedgerRow]) -> dict[str, int]:
    """Return the running sums after a gap row: the records of lost rows are no longer there."""
    sums = dict(ledger.with_totals(head, row).totals)
    for one in gone:
        for name in ("good", "copies", "dead"):
            sums[name] -= getattr(one, name)
            sums["absent"] += getattr(one, name)
        sums["fp"] = (sums["fp"] - one.fp) % (1 << 64)
    return sums | {"gap": row.seq}


def _of_rows(gone: Sequence[LedgerRow]) -> list[Loss]:
    """Return the offsets of lost rows by partition; those of a topic under two ids are told apart."""
    spans: dict[tuple[str, int, str], tuple[int, int]] = {}
    for row in gone:
        for topic, partition, start, end in row.range.partitions():
            place = (topic, partition, row.topic_ids.get(topic, ""))
            first, _ = spans.get(place, (start, end))
            spans[place] = (first, end)
    return [Loss(topic, partition, a, b, UNARCHIVED) for (topic, partition, _), (a, b) in sorted(spans.items())]


# ---- what stands in the ledger -------------------------------------------------------------------------------------


def _text(losses: Sequence[Loss], gone: Sequence[LedgerRow], previous: int) -> str:
    spans: list[list[int]] = []
    for row in gone:
        if spans and spans[-1][1] == row.seq - 1:
            spans[-1][1] = row.seq
        else:
            spans.append([row.seq, row.seq])
    return json.dumps({"losses": [asdict(loss) for loss in losses], "lost": spans, "previous": previous})


def accepted(row: LedgerRow) -> Accepted:
    """Return what a gap row gave up."""
    held = json.loads(row.text) if row.text else {}
    lost_spans = tuple((first, last) for first, last in held.get("lost", ()))
    if "losses" in held:
        losses = tuple(Loss(**loss) for loss in held["losses"])
    else:
        losses = tuple(Loss(*place, RETENTION) for place in row.range.partitions())
    return Accepted(row.seq, row.committed_at_us, losses, lost_spans)


def lost(rows: Iterable[LedgerRow]) -> frozenset[int]:
    """Return the seqs that the gap rows among `rows` declare lost."""
    gap_rows = (row for row in rows if row.kind == "gap")
    return frozenset(seq for row in gap_rows for a, b in accepted(row).lost for seq in range(a, b + 1))


def through(store: Ledger, row: LedgerRow) -> list[Accepted]:
    """Return every gap accepted up to and with a ledger row, the oldest first.

    The running totals name the newest gap row and each of them the one before, so that the ledger is not read whole.
    """
    found: list[Accepted] = []
    seq = row.totals.get("gap", 0)
    while seq:
        (gap,) = store.rows(seq - 1, seq)
        found.append(accepted(gap))
        seq = int(json.loads(gap.text)["previous"]) if gap.text else 0
    return found[::-1]


def as_dicts(gaps: Iterable[Accepted]) -> list[dict[str, object]]:
    """Return gaps as answers and commands carry them: one entry for each partition of each gap row."""
    return [
        {"seq": gap.seq, "topic": x.topic, "partition": x.partition, "from": x.start, "to": x.end, "reason": x.reason}
        for gap in gaps
        for x in gap.losses
    ]
