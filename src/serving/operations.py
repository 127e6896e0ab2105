"""What people look after: the newest dead letters by reason, and the generations with their audits.

Both are read aside every few seconds, so that no request waits for a store; a status tells what was read last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from braid import dead
from braid.adapters.files import FileGenerations, Publication
from braid.instants import iso
from braid.ledger import Current, LedgerRow
from braid.ports import DeadLetterRow, DeadLetters, Ledger

EVERY_S = 5.0
LETTERS = 200  # the newest, which reasons are counted of
REASONS = 20
SAMPLE_BYTES = 160
GENERATIONS = 8


@dataclass(frozen=True, slots=True)
class Operations:
    """What was read: the newest dead letters up to head, and the newest generations, the served one first."""

    letters: tuple[DeadLetterRow, ...]
    publications: tuple[Publication, ...]


def read(ledger: Ledger, letters: DeadLetters, files: FileGenerations) -> Operations:
    """Ask the stores once.

    Raises
    ------
    StoreUnavailable, LedgerError
        Cassandra does not answer, or the dataset has not been created.
    """
    current, head = ledger.current(), ledger.head()
    return Operations(tuple(_letters(head, letters)), tuple(_publications(current, files)))


def report(operations: Operations | None) -> dict[str, Any]:
    """Return one plain value; None for what has not been read yet."""
    if operations is None:
        return {"dead_letters": None, "generations": None}
    return {
        "dead_letters": {"of": len(operations.letters), "reasons": _reasons(operations.letters)},
        "generations": [_generation(one, i == 0) for i, one in enumerate(operations.publications)],
    }


def _letters(head: LedgerRow, letters: DeadLetters) -> list[DeadLetterRow]:
    # what stands beyond head is not counted yet; letters of a topic that was deleted are left to `braid dead`
    return dead.visible(letters.newest(LETTERS), head.end, ()) if head.totals.get("dead", 0) else []


def _publications(current: Current, files: FileGenerations) -> list[Publication]:
    reports = (files.publication(gen) for gen in files.chain(current.gen, GENERATIONS))
    return [one for one in reports if one is not None]


def _reasons(letters: Sequence[DeadLetterRow]) -> list[dict[str, Any]]:
    return [
        {
            "topic": one.topic,
            "reason": one.reason,
            "count": one.count,
            "place": str(dead.place_of(one.newest)),
            "sample": one.newest.raw[:SAMPLE_BYTES].decode("utf-8", "replace"),
        }
        for one in dead.by_reason(letters)[:REASONS]
    ]


def _generation(one: Publication, served: bool) -> dict[str, Any]:
    audit = one.plain()["current"]["audit"]
    return {
        "generation": one.current.gen,
        "state": "served" if served else "earlier",
        "cut_seq": one.current.cut_seq,
        "published_at": iso(one.current.published_at_us),
        "records": one.records,
        "audit": {"checked": audit["checked"], "unaudited": audit["unaudited"]},
    }
