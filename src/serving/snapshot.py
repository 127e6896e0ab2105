"""What a request sees: one immutable snapshot of a dataset, and what is missing from it.

The follower builds a whole new snapshot for every change and swaps it in by one assignment. A request takes it once
and computes from nothing else, so its answer shows all or none of a micro-batch and of a generation, over all views.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from braid.declaration import Declaration, Layer
from braid.gaps import Accepted
from braid.ledger import LedgerRow, text_of
from serving.generations import Generation
from serving.grid import EMPTY, Grid
from serving.recent import Recent
from serving.tail import Missing, Tail

What = Literal["merged", "batch", "speed", "alerts"]


@dataclass(frozen=True, slots=True)
class AsOf:
    """Which part of the log an answer covers: everything before `row.end`, and of it the batch before `cut.end`."""

    generation: int
    cut_seq: int
    row: LedgerRow

    def as_dict(self) -> dict[str, Any]:
        """Return it as answers carry it."""
        return {
            "generation": self.generation,
            "cut_seq": self.cut_seq,
            "seq": self.row.seq,
            "offsets": text_of(self.row.end),
        }


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One dataset at one moment.

    Attributes
    ----------
    declaration : the one in force: it decided every number here
    generation : the batch side, immutable
    tail : the speed side, cut < seq <= tail.row.seq
    recent : the newest alerts, through the same seq
    head : the newest ledger row that was read
    troubles : what the follower could not do, such as load a newer generation
    """

    declaration: Declaration
    generation: Generation
    tail: Tail
    recent: Recent
    head: LedgerRow
    troubles: tuple[Missing, ...] = field(default=())

    def sides(self, view: str, layer: Layer) -> tuple[Grid, Grid]:
        """Return (batch, tail) of a view as a layer shows them; the side it leaves out is empty."""
        batch = EMPTY if layer == "speed" else self.generation.views[view]
        tail = EMPTY if layer == "batch" else self.tail.views[view]
        return batch, tail

    def as_of(self, what: What) -> AsOf:
        """Return what an answer of that layer covers."""
        row = self.tail.cut if what == "batch" else self.tail.row
        return AsOf(self.generation.current.gen, self.tail.cut.seq, row)

    def accepted(self, what: What) -> tuple[Accepted, ...]:
        """Return the gaps that were accepted in the part of the log that an answer of that layer covers."""
        through = self.as_of(what).row.seq
        return tuple(gap for gap in self.tail.accepted if gap.seq <= through)

    def missing(self, what: What) -> tuple[Missing, ...]:
        """Return what an answer of that layer lacks, beyond the silence of a store."""
        found = list(self.troubles)
        if what == "alerts":
            found += self.recent.missing
        if what != "batch":
            found += self.tail.gaps
            if self.tail.stop is not None:
                found.append(replace(self.tail.stop, through_seq=self.head.seq))
        return tuple(found)
