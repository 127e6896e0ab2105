"""The truth: what each ledger row must have counted, and what every answer as of it must say, by plain loops.

It follows the ledger row by row with the raw records that Kafka holds, and keeps the first record of each id in ledger
order. It shares nothing with the layers but the declaration: `json`, `Decimal` and Python's integers do the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from braid.declaration import Declaration
from tests.services.pipeline import Record, good, instant_us, scaled


@dataclass
class Counted:
    """What one ledger row counted."""

    good: int = 0
    copies: int = 0
    dead: int = 0


@dataclass
class Truth:
    """Everything counted up to a ledger row; `states` are {view: {place: {measure: [n, Σx, Σx², min, max]}}}."""

    declaration: Declaration
    seen: set[tuple] = field(default_factory=set)
    states: dict[str, dict[tuple, dict[str, list]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.states = {view.name: {} for view in self.declaration.views}

    def count(self, records: list[Record]) -> Counted:
        """Count the records of one ledger row, in ledger order."""
        topic, counted = self.declaration.topics[0], Counted()
        for record in sorted(records, key=lambda r: (r.topic, r.partition, r.offset)):
            event = good(record, self.declaration)
            if event is None:
                counted.dead += 1
                continue
            identity = tuple(
                instant_us(event[f]) if topic.fields[f].type == "time" else event[f] for f in topic.event_id
            )
            if identity in self.seen:
                counted.copies += 1
                continue
            self.seen.add(identity)
            counted.good += 1
            self._fold(event, instant_us(event[topic.event_time.field]))
        return counted

    def _fold(self, event: dict[str, Any], at_us: int) -> None:
        for spec in self.declaration.views:
            start = at_us // spec.window_us * spec.window_us if spec.window_us else 0
            cell = self.states[spec.name].setdefault(
                (start, *(event[c] for c in spec.by)), {m.name: [0, 0, 0, None, None] for m in spec.measures}
            )
            for m in spec.measures:
                if event.get(m.of) is not None:
                    _add(cell[m.name], scaled(Decimal(event[m.of]), m.scale))

    def of(self, view: str) -> dict[tuple, dict[str, tuple]]:
        """Return a view's states, in the form of `pipeline.served`."""
        return {place: {m: tuple(s) for m, s in cell.items()} for place, cell in self.states[view].items()}


def _add(state: list, x: int) -> None:
    n, total, squares, low, high = state
    state[:] = n + 1, total + x, squares + x * x, x if low is None else min(low, x), x if high is None else max(high, x)
