"""Declared traffic over the ports' twins: cells with places and without, window after window, for tests of the map."""

from __future__ import annotations

from pathlib import Path

from braid.declaration import Declaration
from braid.declaration_reader import parse
from tests.services.seed import Event
from tests.unit.serving_world import MINUTE_US, PLACE, START_US, World

CHECKOUT = Path(__file__).parents[2]
CELLS = 12  # with a place
NOWHERE = ("tlc-7", "tlc-9")  # cells without
WINDOWS = 30
BARE = 7  # the window in which only cells without a place have trips


def traffic() -> Declaration:
    """Return the traffic declaration on the topic of the twins."""
    text = (CHECKOUT / "datasets" / "traffic.yaml").read_text("utf-8")
    return parse(text.replace("topic: taxi-trips", f"topic: {PLACE[0]}"), "traffic")


def trip(number: int, minute: int, cell: str, speed: int, at: tuple[int, int] | None) -> Event:
    """Return a trip; speed in hundredths of a mile per hour, place in millionths of a degree."""
    values = {"event_id": f"t{number}", "cell_id": cell, "speed_mph": speed, "is_rush_hour": 0, "is_manhattan": 0}
    values |= dict(zip(("pickup_lat", "pickup_lon"), at or (None, None), strict=True))
    return Event((number + 1) * 0x9E3779B97F4A7C15 % 2**64, START_US + minute * MINUTE_US, values)


def trips(minutes: range, cells: int = CELLS) -> list[Event]:
    """Return the trips of some minutes: a cell's speed goes up and down, and each has trips of its own number."""
    found: list[Event] = []
    for minute in minutes:
        for cell in range(cells if minute != BARE else 0):
            place = (41_800_000 + cell % 32 * 9_000, -87_700_000 + cell // 32 * 12_000 + cell * 1_500)
            for k in range(1 + cell % 4):
                number = (minute * cells + cell) * 4 + k
                found.append(trip(number, minute, f"chi-{cell:04}", 500 + (cell * 370 + minute * 230) % 1700, place))
        found += [trip(10**7 + minute * 10 + i, minute, name, 1200, None) for i, name in enumerate(NOWHERE)]
    return found


def city(cells: int = CELLS, windows: int = WINDOWS) -> World:
    """Return traffic of some cells and minutes, two thirds of it in generation 1."""
    world = World(traffic()).genesis()
    world.clock.at_us = START_US + 9 * 3600 * 1_000_000
    cut = windows * 2 // 3
    world.commit(trips(range(cut), cells))  # type: ignore[arg-type]
    world.publish(1)
    world.commit(trips(range(cut, windows), cells))  # type: ignore[arg-type]
    return world
