"""The batch side of an answer: one published generation, loaded once and never changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from braid import definitions
from braid.declaration import Declaration
from braid.errors import AuditFailed
from braid.ledger import Current, LedgerRow, text_of
from braid.ports import Generations, Ledger
from serving.grid import Grid


@dataclass(frozen=True, slots=True)
class Generation:
    """The views of one generation. Generation 0 is the empty one, cut at genesis."""

    current: Current
    views: Mapping[str, Grid]


def load(current: Current, declaration: Declaration, generations: Generations) -> Generation:
    """Read every view of a generation; the port checks each against the digest of its publication.

    Raises
    ------
    AuditFailed
        The rows that came back are not those that were published.
    StoreUnavailable
        HiveServer2 did not answer.
    """
    return Generation(current, {view.name: Grid.of(generations.view(current, view)) for view in declaration.views})


def cut_row(ledger: Ledger, current: Current) -> LedgerRow:
    """Return the ledger row at which a generation was cut.

    Raises
    ------
    AuditFailed
        `current` names other offsets or another definition than that row: batch and speed would not meet.
    """
    (row,) = ledger.rows(current.cut_seq - 1, current.cut_seq)
    if row.definition != current.definition:
        raise AuditFailed(
            f"generation {current.gen}: expected the definition of ledger seq {row.seq}, {row.definition[:12]}, "
            f"got {current.definition[:12]}; run the batch again"
        )
    if dict(row.end) != dict(current.cut):
        raise AuditFailed(
            f"generation {current.gen}: expected its cut at the end of ledger seq {row.seq}, {text_of(row.end)}, "
            f"got {text_of(current.cut)}; run the batch again"
        )
    return row


def in_force(declared: Declaration, ledger: Ledger, cut: LedgerRow) -> Declaration:
    """Return the declaration that decided the numbers of a generation cut at a ledger row.

    The file on disk serves when it decides the same numbers, so titles and paths may be edited at will; otherwise the
    text in the ledger does, whatever the file says.

    Raises
    ------
    RangeRefused
        The ledger holds no text of that definition.
    """
    return declared if declared.hash == cut.definition else definitions.in_force(ledger, cut)
