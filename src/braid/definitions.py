"""Which declaration is in force: the text that the ledger holds, never the file.

A file may be edited while jobs run; the ledger's text changes only by a row of it, so every job that stands at the
same head reads the same declaration.
"""

from __future__ import annotations

from braid.declaration import Declaration
from braid.declaration_reader import parse
from braid.errors import RangeRefused
from braid.ledger import LedgerRow
from braid.ports import Ledger


def in_force(ledger: Ledger, head: LedgerRow) -> Declaration:
    """Return the declaration under which `head` was committed.

    Raises
    ------
    RangeRefused
        No row of the ledger holds the text of head's definition.
    """
    since = head.totals.get("definition", 0)
    found = _text_of(ledger.rows(since - 1, since), head) or _text_of(ledger.rows(-1, head.seq), head)
    if found is None:
        raise RangeRefused(
            f"ledger: expected the text of definition {head.definition[:12]} in one of its rows, got none; "
            "restore the ledger from a backup that holds it"
        )
    return found


def earlier(ledger: Ledger, head: LedgerRow) -> list[Declaration]:
    """Return the declarations that were in force before the one at head, the newest first: one row read for each."""
    found, since = [], head.totals.get("definition", 0)
    while since > 0:
        (before,) = ledger.rows(since - 2, since - 1)
        found.append(in_force(ledger, before))
        since = before.totals.get("definition", 0)
    return found


def _text_of(rows: list[LedgerRow], head: LedgerRow) -> Declaration | None:
    for row in rows:
        if row.text and row.kind in {"genesis", "definition"} and row.definition == head.definition:
            found = parse(row.text, where=f"ledger seq {row.seq}")
            if found.hash == head.definition:
                return found
    return None
