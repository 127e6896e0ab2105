"""The newest alerts of a dataset, followed row by row: those of from_seq < seq <= through_seq that are still held.

They are those of one declaration. Where it changed (`braid apply`) they begin anew: what was judged by another one has other
rules and scales, and no two may stand in one answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from braid.alerts import Alert
from braid.change import since
from braid.cql import RECORD_TTL_S
from braid.ledger import LedgerRow
from braid.ports import Alerts, Ledger
from serving.tail import Missing

KEEP = 10_000  # alerts in memory: about 10 MB
ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Recent:
    """Alerts in ledger order, immutable.

    Attributes
    ----------
    from_seq, through_seq : every alert of from_seq < seq <= through_seq is held
    alerts : in ledger order, the oldest first
    missing : committed alerts that the store no longer gave, though they should still be there
    """

    from_seq: int
    through_seq: int
    alerts: tuple[Alert, ...] = ()
    missing: tuple[Missing, ...] = ()


def begin(row: LedgerRow, ledger: Ledger, alerts: Alerts, now_us: int) -> Recent:
    """Return the newest alerts as of a ledger row, read backwards until enough are held or the rest has expired."""
    parts: deque[list[Alert]] = deque()
    missing: tuple[Missing, ...] = ()
    through, held, first = row.seq, 0, since(row)
    # the running total says when there is nothing further back: most datasets start so
    while through > first and held < KEEP and held < row.totals.get("alerts", KEEP):
        after = max(through - ROWS_AT_ONCE, first)
        rows = [r for r in ledger.rows(after, through) if now_us - r.committed_at_us < RECORD_TTL_S * 1_000_000]
        found, wrong = _read(rows, alerts)
        parts.appendleft(found)
        missing = (*wrong, *missing)
        held += len(found)
        expired = len(rows) < through - after
        through = rows[0].seq - 1 if rows else through
        if expired:
            break
    return _cut(Recent(through, row.seq, tuple(chain.from_iterable(parts)), missing))


def follow(recent: Recent, rows: Sequence[LedgerRow], alerts: Alerts) -> Recent:
    """Return the alerts with those of more ledger rows, from recent.through_seq + 1 on."""
    if not rows:
        return recent
    changed = [row.seq for row in rows if row.kind == "definition"]
    if changed:
        recent, rows = Recent(changed[-1], changed[-1]), [row for row in rows if row.seq > changed[-1]]
        return follow(recent, rows, alerts)
    found, missing = _read(rows, alerts)
    if not found:
        return Recent(recent.from_seq, rows[-1].seq, recent.alerts, recent.missing + missing)
    return _cut(Recent(recent.from_seq, rows[-1].seq, (*recent.alerts, *found), recent.missing + missing))


def _read(rows: Sequence[LedgerRow], alerts: Alerts) -> tuple[list[Alert], tuple[Missing, ...]]:
    told = [row for row in rows if row.alerts]
    found = alerts.read(told) if told else []
    got: dict[int, int] = {}
    for alert in found:
        got[alert.seq] = got.get(alert.seq, 0) + 1
    wrong = [row for row in told if got.get(row.seq, 0) != row.alerts]
    return found, tuple(
        Missing("alerts", f"seq {row.seq}: expected {row.alerts} alerts, got {got.get(row.seq, 0)}", row.seq, row.seq)
        for row in wrong
    )


def _cut(recent: Recent) -> Recent:
    """Drop whole micro-batches from the old end until no more than KEEP alerts are left, and always keep one."""
    alerts = recent.alerts
    if len(alerts) <= KEEP:
        return recent
    first = alerts[-KEEP].seq
    from_seq = first if alerts[-KEEP - 1].seq == first else first - 1
    from_seq = min(from_seq, alerts[-1].seq - 1)
    missing = tuple(m for m in recent.missing if m.from_seq is not None and m.from_seq > from_seq)
    return Recent(from_seq, recent.through_seq, tuple(a for a in alerts if a.seq > from_seq), missing)
