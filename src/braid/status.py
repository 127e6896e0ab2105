"""How far a dataset has come, in one place for the command line and the API: topic end, head, lag, generation, counts.

`of` asks the ports; `report` turns what they said into one plain value and asks nobody, so that a server that follows
the same facts in the background answers with the same words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from braid import bulk, change
from braid.declaration import Declaration
from braid.errors import Gap, LedgerError, StoreUnavailable
from braid.generations import counts
from braid.instants import iso
from braid.ledger import Current, LedgerRow, Offsets, check_log
from braid.ports import Clock, Ledger, Log, topics_of

COUNTS = ("good", "copies", "dead", "absent", "alerts")


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found out about one dataset; None where nobody answered, with the reason in `problems`.

    Attributes
    ----------
    waiting_since_us : since when a record has been seen beyond head; None when that was not watched
    """

    declaration: Declaration
    now_us: int
    ends: Offsets | None = None
    head: LedgerRow | None = None
    current: Current | None = None
    waiting_since_us: int | None = None
    problems: tuple[str, ...] = ()


def of(declaration: Declaration, log: Log, ledger: Ledger, clock: Clock) -> dict[str, Any]:
    """Return the status of a dataset, asking the broker and the ledger once each; what fails is a named problem."""
    ends = head = current = None
    problems: list[str] = []
    try:
        current = ledger.current()
        head = ledger.head()
    except (LedgerError, StoreUnavailable) as error:
        problems.append(str(error))
    topics = topics_of(declaration.topics)
    try:
        ends = log.latest(topics)
        if head is not None:
            check_log(head, log.earliest(topics), log.topic_ids(topics), declaration.dataset)
    except (Gap, StoreUnavailable) as error:
        problems.append(str(error))
    return report(Facts(declaration, clock.now_us(), ends, head, current, None, tuple(problems)))


def report(facts: Facts) -> dict[str, Any]:
    """Return facts as one plain value: JSON's types, times in ISO 8601 UTC, durations in seconds."""
    lag = _lag(facts)
    return {
        "dataset": facts.declaration.dataset,
        "title": facts.declaration.title,
        "partitions": _partitions(facts),
        "lag": {"events": lag, "seconds": _lag_s(facts, lag)},
        "head": _head(facts.head),
        "generation": _generation(facts),
        "counts": _counts(facts),
        "problems": [*_applied(facts), *_taken_in(facts), *facts.problems],
    }


def _counts(facts: Facts) -> dict[str, int] | None:
    """Return what was counted up to head, by the declaration that answers."""
    if facts.head is None:
        return None
    sums = counts(facts.head, facts.current) if facts.current else facts.head.totals
    return {name: sums.get(name, 0) for name in COUNTS}


def _applied(facts: Facts) -> list[str]:
    """Return that a changed declaration is being applied, when it is: the old one answers as long."""
    if facts.head is None or facts.current is None or not change.pending(facts.head, facts.current):
        return []
    return [f"{facts.declaration.dataset}: {change.remedy(facts.declaration.dataset, facts.head)}"]


def _taken_in(facts: Facts) -> list[str]:
    """Return that history in bulk waits for its generation, when it does: answers end before it."""
    if facts.head is None or facts.current is None or not bulk.pending(facts.head, facts.current):
        return []
    return [f"{facts.declaration.dataset}: {bulk.remedy(facts.declaration.dataset, facts.head)}"]


def _partitions(facts: Facts) -> list[dict[str, Any]]:
    ends = facts.ends or {}
    counted = facts.head.end if facts.head else {}
    rows = []
    for topic, partition in sorted(set(ends) | set(counted)):
        end, head = ends.get((topic, partition)), counted.get((topic, partition))
        lag = None if end is None or head is None else max(end - head, 0)
        rows.append({"topic": topic, "partition": partition, "end": end, "head": head, "lag": lag})
    return rows


def _lag(facts: Facts) -> int | None:
    if facts.ends is None or facts.head is None:
        return None
    # head may have been read a moment after the ends
    return sum(max(end - facts.head.end.get(place, 0), 0) for place, end in facts.ends.items())


def _lag_s(facts: Facts, lag: int | None) -> float | None:
    """Return how long the oldest uncounted record has waited, at most: it came after head was committed."""
    if lag is None or facts.head is None:
        return None
    if lag == 0:
        return 0.0
    since_us = facts.head.committed_at_us if facts.waiting_since_us is None else facts.waiting_since_us
    return round(max(facts.now_us - since_us, 0) / 1_000_000, 3)


def _head(head: LedgerRow | None) -> dict[str, Any] | None:
    if head is None:
        return None
    return {"seq": head.seq, "kind": head.kind, "committed_at": iso(head.committed_at_us)}


def _generation(facts: Facts) -> dict[str, Any] | None:
    current, head = facts.current, facts.head
    if current is None:
        return None
    every_us = facts.declaration.batch_every_us
    published_us = current.published_at_us or None
    next_us = published_us + every_us if published_us and every_us else None
    return {
        "generation": current.gen,
        "cut_seq": current.cut_seq,
        "seqs_behind_head": None if head is None else head.seq - current.cut_seq,
        "published_at": iso(published_us) if published_us else None,
        "every_s": every_us / 1_000_000 if every_us else None,
        "next_due": iso(next_us) if next_us else None,
    }
