"""History in bulk: one ledger row for records that no micro-batch ever saw.

Theory. A micro-batch passes its records through one driver, which keeps them fresh and bounds how many there may be. History
need not be fresh. With the stream stopped, the batch layer reads everything after head at once, archives it and counts it,
and one row of kind `bulk` says what it found. The row covers its offsets like any other, so the ledger still tiles the log,
and its counts (each event id once, over all that came before) hold the batch layer to the same conservation.

What it lacks are fragments: there is no tail of it. So it is *pending* until a generation covers it: answers stop before it
and name it, and no stream starts, for the views that a driver begins with, the baselines of alerts and the readable rows would
lack it in silence. Its events are in every baseline afterwards, and are judged by none: an alert is a word about now.
"""

from __future__ import annotations

from dataclasses import dataclass

from braid import ledger
from braid.errors import RangeRefused
from braid.ledger import Current, LedgerRow, Range


@dataclass(frozen=True, slots=True)
class Counted:
    """What was found in a range: all records, the good (each id once, and not before the range), Σ of their hash64, the dead."""

    records: int
    good: int
    fp: int
    dead: int


def row_of(head: LedgerRow, offered: Range, found: Counted, writer: str, now_us: int) -> LedgerRow:
    """Return the row by which a range is taken in as one: it comes right after head.

    Parameters
    ----------
    offered : Range, from head's end
    writer : unique to this process
    now_us : microseconds UTC, for people

    Raises
    ------
    RangeRefused
        The range does not start at head's end, is empty, or holds more than it has offsets.

    Examples
    --------
    >>> end, far = {("t", 0): 7}, {("t", 0): 107}
    >>> head = LedgerRow(4, "micro", 1, "w", Range({("t", 0): 2}, end), totals={"good": 7}, definition="d")
    >>> row = row_of(head, Range(end, far), Counted(99, 90, 5, 3), "me", 0)
    >>> row.seq, row.kind, (row.good, row.copies, row.dead, row.absent), row.totals["good"], row.totals["bulk"]
    (5, 'bulk', (90, 6, 3, 1), 97, 5)
    """
    if dict(offered.start) != dict(head.end) or offered.empty:
        raise RangeRefused(
            f"history in bulk, {ledger.text_of(offered.start)} to {ledger.text_of(offered.end)}: expected offsets after the end of "
            f"ledger seq {head.seq}, {ledger.text_of(head.end)}; run it again"
        )
    row = LedgerRow(
        head.seq + 1, "bulk", ledger.attempt_of(offered, f"bulk {head.definition}"), writer, offered,
        good=found.good, copies=found.records - found.good - found.dead, dead=found.dead,
        absent=offered.size - found.records, fp=found.fp, bucket=head.bucket, bucket_rows=head.bucket_rows,
        definition=head.definition, topic_ids=dict(head.topic_ids), committed_at_us=now_us,
    )  # fmt: skip
    if min(row.good, row.copies, row.dead, row.absent) < 0:
        raise RangeRefused(
            f"history in bulk, {ledger.text_of(offered.start)} to {ledger.text_of(offered.end)}: expected at most {offered.size} "
            f"records, each good, a copy or dead, got {found}; this is a defect of the count: report it"
        )
    return ledger.with_totals(head, row)


def newest(row: LedgerRow) -> int:
    """Return the seq of the newest bulk row up to and with a ledger row; 0 when there is none."""
    return row.totals.get("bulk", 0)


def pending(head: LedgerRow, current: Current) -> bool:
    """Return whether history was taken in that no generation covers yet."""
    return newest(head) > current.cut_seq


def remedy(dataset: str, head: LedgerRow) -> str:
    """Return what to say, and to type, while history is pending."""
    return (
        f"history in bulk, ledger seq {newest(head)}, is in no generation yet; finish it: braid load {dataset} once more as it was, "
        f"or braid batch {dataset} and then braid up"
    )
