"""How fresh a running Braid is, by its own records: when Kafka appended each record, when the ledger committed it.

The ledger row makes a micro-batch visible; the API follows the ledger at least every 100 ms.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from braid.adapters import cassandra, kafka
from braid.declaration import Declaration
from braid.ledger import LedgerRow, Offsets
from braid.settings import Settings


@dataclass(frozen=True, slots=True)
class Freshness:
    """Of so many records: the seconds from append to commit that half, and 99 %, of them do not exceed."""

    events: int
    p50_s: float
    p99_s: float


def freshness(settings: Settings, declaration: Declaration, after: int) -> Freshness | None:
    """Return how fresh the records of ledger rows after seq `after` were; None when there are none.

    Raises
    ------
    StoreUnavailable
        Kafka or Cassandra does not answer.
    """
    with cassandra.connect(settings) as store:
        ledger = store.stores(declaration).ledger
        rows = [row for row in ledger.rows(after, ledger.head().seq) if row.kind == "micro"]
    if not rows:
        return None
    ages: list[float] = []
    start: Offsets = rows[0].range.start
    for topic, some in kafka.between(settings.kafka_bootstrap, start, rows[-1].end):
        ages += [(_committed_us(rows, (topic, r.partition), r.offset) - r.append_us) / 1e6 for r in some]
    return of_ages(ages)


def of_ages(ages: Sequence[float]) -> Freshness | None:
    """Return the percentiles of ages in seconds: the value of rank ⌈p·n⌉.

    Examples
    --------
    >>> of_ages([0.3, 0.1, 0.2, 0.4])
    Freshness(events=4, p50_s=0.2, p99_s=0.4)
    """
    ordered = sorted(ages)
    if not ordered:
        return None
    p50, p99 = (ordered[-(-percent * len(ordered) // 100) - 1] for percent in (50, 99))
    return Freshness(len(ordered), round(p50, 3), round(p99, 3))


def _committed_us(rows: Sequence[LedgerRow], place: tuple[str, int], offset: int) -> int:
    """Return when the row that covers an offset was committed: the first that ends beyond it."""
    return rows[bisect_right(rows, offset, key=lambda row: row.end.get(place, 0))].committed_at_us
