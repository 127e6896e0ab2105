"""The load: sales of six shops, some late, some sent again; a function of the seed but for the hour of the day."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass

WINDOW_S = 10
RATE = 150  # events a second
DURATION_S = 60
REPLAYED_S = 10  # how much a producer that crashed sends again
LATE = 0.04  # of all events
LATE_S = (15, 50)  # how late, from and to
SHOPS = ("north", "south", "east", "west", "centre", "harbour")

DECLARATION = f"""
dataset: why
topic: why-sales
event_id: [id]
event_time: {{field: at, zone: UTC}}
fields:
  id:     {{type: string, max_length: 32}}
  shop:   {{type: string, values: [{", ".join(SHOPS)}]}}
  at:     {{type: time}}
  amount: {{type: decimal, scale: 2, min: 0, max: 1000}}
views:
  sales: {{by: [shop], window: {WINDOW_S} seconds, measures: {{amount: {{of: amount, stats: [sum, mean]}}}}}}
"""

Cell = tuple[int, str]  # start of the window in Unix seconds, shop
Counts = dict[Cell, tuple[int, int]]  # events, cents


@dataclass(frozen=True, slots=True)
class Sale:
    """One event; `due_s` is when it is sent, in seconds after the load began."""

    due_s: float
    id: str
    shop: str
    at_ms: int
    cents: int

    @property
    def cell(self) -> Cell:
        """The window and shop that it counts in."""
        return self.at_ms // 1000 // WINDOW_S * WINDOW_S, self.shop

    def raw(self, iso: str) -> bytes:
        """Return the record; `iso` is its time as text."""
        amount = f"{self.cents // 100}.{self.cents % 100:02d}"
        return f'{{"id": {json.dumps(self.id)}, "shop": "{self.shop}", "at": "{iso}", "amount": {amount}}}'.encode()


def sales(seed: int, began_ms: int, replay_at_s: float) -> list[Sale]:
    """Return what is sent, in the order of sending: every sale once, and those before the replay a second time.

    Parameters
    ----------
    began_ms : when the load begins, Unix milliseconds
    replay_at_s : when the producer sends its last `REPLAYED_S` seconds again
    """
    rng = random.Random(seed)  # noqa: S311 - a load, not a secret
    once = []
    for i in range(DURATION_S * RATE):
        due_s = i / RATE
        late_s = rng.uniform(*LATE_S) if rng.random() < LATE else 0.0
        at_ms = began_ms + int((due_s - late_s) * 1000)
        once.append(Sale(due_s, f"{seed}-{i}", rng.choice(SHOPS), at_ms, rng.randrange(1, 100_000)))
    again = [
        Sale(replay_at_s + (sale.due_s - replay_at_s + REPLAYED_S) / 10, sale.id, sale.shop, sale.at_ms, sale.cents)
        for sale in once
        if replay_at_s - REPLAYED_S <= sale.due_s < replay_at_s
    ]
    return sorted([*once, *again], key=lambda sale: sale.due_s)


def truth(sent: Iterable[Sale]) -> Counts:
    """Return what a correct answer over these events holds: each id once."""
    return counted({sale.id: sale for sale in sent}.values())


def counted(events: Iterable[Sale]) -> Counts:
    """Return events and cents per cell, every event as often as it comes."""
    counts: Counts = {}
    for sale in events:
        n, cents = counts.get(sale.cell, (0, 0))
        counts[sale.cell] = n + 1, cents + sale.cents
    return counts


def drift(answer: Counts, right: Counts) -> int:
    """Return by how many events an answer is wrong, cell by cell, whichever way.

    Examples
    --------
    >>> drift({(0, "east"): (3, 10)}, {(0, "east"): (2, 10), (10, "east"): (1, 5)})
    2
    """
    return sum(abs(answer.get(cell, (0, 0))[0] - right.get(cell, (0, 0))[0]) for cell in answer.keys() | right.keys())
