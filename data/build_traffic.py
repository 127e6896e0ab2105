#!/usr/bin/env python3
"""Build data/traffic/trips.csv.gz (New York) and data/traffic/chicago/trips.csv.gz from two samples of taxi trips.

A trip says how fast the city moved where it began: `speed_mph` is its distance over its time, an exact fraction rounded
once, half-even, to 2 digits. Only *usable* trips become events: 1 minute to 2 hours, a distance above 0, at most
80 mph, a fare of at least 0 (a negative one is a refund of an earlier row). Everything else is left out here, by this
rule; data/nyc_taxi keeps it. The events are in drop-off order, for a trip is known when it ends.

New York: the rows of data/build_nyc_taxi.py. `cell_id` is `tlc-` and the zone of the pick-up; the records have no
places, and neither has the zone a latitude here. `is_manhattan` is 1 for the zones listed below. `is_rush_hour` is 1
on weekdays from 7:00 to 9:59 and 16:00 to 18:59 by the local clock, so never on 1 and 2 January 2022, a weekend.

Chicago: places, where New York has none. The package's times count seconds as if the local clock were UTC and are
rounded to 15 minutes; they are read as Chicago time and written as UTC. `cell_id` is a cell of a grid of one hundredth
of a degree, about 1.1 by 0.8 km, named by its south-west corner in hundredths. Rows without a place are no events.

    python data/build_traffic.py                    writes the two files
    python data/build_traffic.py --check            compares them with what would be written, writes nothing
    python data/build_traffic.py --package SDIST --chicago WHEEL      with local copies of the packages
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import TypeAlias
from zoneinfo import ZoneInfo

import build_nyc_taxi as taxi
import pinned

CHICAGO = pinned.Source(
    package="tfx==1.21.0",
    kind="wheel",
    sha256="51032ac740ac6d28185c2814ada5a7e917f3016bcd2043f03ba98e7e674e4165",
    member="tfx/examples/chicago_taxi_pipeline/data/simple/data.csv",
    member_sha256="cdaf0b5931442ef47693f408f25a37af710aca23fccb90a78f00930e89548805",
)
KEPT = 30_000
USABLE = 97_110  # of the 100,000 of New York
CHICAGO_USABLE = 10_805
SHA256 = {
    "traffic/trips.csv.gz": "c562ad43e6c8f0ebbcfc36ab3306a93798866164bf5c5cd18ed2d9109e221b40",
    "traffic/chicago/trips.csv.gz": "7a015cbe7525ea5b54e05e8934e6ccb8d7abf470b57593eb0064513b73c3edbd",
}
COLUMNS = "event_id,event_time,cell_id,speed_mph,is_rush_hour,is_manhattan"
PLACED = "event_id,event_time,pickup_lat,pickup_lon,cell_id,speed_mph,is_rush_hour,is_manhattan"
FASTEST_MPH = 80
SHORTEST_S, LONGEST_S = 60, 7200
RUSH_HOURS = frozenset({7, 8, 9, 16, 17, 18})
SATURDAY = 5
_MANHATTAN = """
    4 12 13 24 41 42 43 45 48 50 68 74 75 79 87 88 90 100 103 104 105 107 113 114 116 120 125 127 128 137 140 141 142
    143 144 148 151 152 153 158 161 162 163 164 166 170 186 194 202 209 211 224 229 230 231 232 233 234 236 237 238 239
    243 244 246 249 261 262 263
"""
MANHATTAN = frozenset(map(int, _MANHATTAN.split()))

Event: TypeAlias = tuple[object, ...]


def speed_of(distance: str, seconds: int, fare: str) -> str | None:
    """Return miles per hour of a usable trip as text of 2 digits, None of any other.

    Examples
    --------
    >>> speed_of("3.8", 1069, "14.5"), speed_of("3.8", 59, "14.5"), speed_of("10", 440, "20"), speed_of("1", 60, "-3")
    ('12.80', None, None, None)
    """
    if not SHORTEST_S <= seconds <= LONGEST_S or Decimal(distance) <= 0 or Decimal(fare) < 0:
        return None
    speed = Fraction(distance) * 3600 / seconds
    return pinned.rounded(speed, 2) if speed <= FASTEST_MPH else None


def rush_hour(local: datetime) -> int:
    """Return 1 for a weekday's rush hours by the local clock, else 0."""
    return int(local.weekday() < SATURDAY and local.hour in RUSH_HOURS)


def new_york(trips: list[taxi.Trip]) -> Iterator[Event]:
    """Yield the usable trips as events, in drop-off order."""
    for trip in trips:
        speed = speed_of(trip.distance, trip.duration_s, trip.fare)
        if speed is not None:
            rush, manhattan = rush_hour(taxi.instant(trip.pickup)), int(int(trip.from_zone) in MANHATTAN)
            yield trip.id, trip.pickup, f"tlc-{trip.from_zone}", speed, rush, manhattan


def cell_of(latitude: Fraction, longitude: Fraction) -> str:
    """Return the grid cell of a place: its south-west corner in hundredths of a degree.

    Examples
    --------
    >>> cell_of(Fraction("41.836150"), Fraction("-87.648788"))
    'chi-4183_-8765'
    """
    return f"chi-{floor(latitude * 100)}_{floor(longitude * 100)}"


def degrees(text: str) -> tuple[str, Fraction]:
    """Return degrees rounded half-even to 6 digits (a tenth of a metre), as text and as the number that it says."""
    rounded = f"{'-' if text.startswith('-') else ''}{pinned.rounded(abs(Fraction(text)), 6)}"
    return rounded, Fraction(rounded)


def chicago(data: bytes) -> Iterator[Event]:
    """Yield the usable trips that have a place as events, in drop-off order."""
    zone = ZoneInfo("America/Chicago")
    found = []
    for row, line in enumerate(csv.DictReader(data.decode("utf-8").splitlines()), start=1):
        seconds = int(Decimal(line["trip_seconds"] or 0))
        speed = speed_of(line["trip_miles"] or "0", seconds, line["fare"])
        if speed is None or not line["pickup_latitude"]:
            continue
        # the earlier instant where the clock was put back
        local = datetime.fromtimestamp(int(line["trip_start_timestamp"]), UTC).replace(tzinfo=zone)
        start = local.astimezone(UTC)
        (lat_text, lat), (lon_text, lon) = degrees(line["pickup_latitude"]), degrees(line["pickup_longitude"])
        event = (
            *(f"chicago-{row:05d}", f"{start:%Y-%m-%dT%H:%M:%SZ}", lat_text, lon_text),
            *(cell_of(lat, lon), speed, rush_hour(local), 0),
        )
        found.append((start + timedelta(seconds=seconds), row, event))
    yield from (event for _, _, event in sorted(found))


def tables_of(trips: list[taxi.Trip], chicago_rows: bytes) -> dict[str, str]:
    """Return {path below data/: text} of the two files; other numbers of usable trips than known stop the build."""
    york, placed = list(new_york(trips)), list(chicago(chicago_rows))
    if (len(york), len(placed)) != (USABLE, CHICAGO_USABLE):
        raise SystemExit(f"expected {USABLE} and {CHICAGO_USABLE} usable trips, got {len(york)} and {len(placed)}")
    return {
        "traffic/trips.csv.gz": pinned.csv_of(COLUMNS, york[:KEPT]),
        "traffic/chicago/trips.csv.gz": pinned.csv_of(PLACED, placed),
    }


def main(argv: list[str] | None = None) -> int:
    """Write the two files, or with --check compare; return the exit code."""
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--chicago", type=Path, help="a local copy of the second package; default: fetched by pip")
    places, rest = own.parse_known_args(argv)
    options = pinned.flags("Build data/traffic from the two pinned packages.", rest)
    tables = tables_of(taxi.trips_of(taxi.SOURCE.read(options.package)), CHICAGO.read(places.chicago))
    return pinned.settle(tables, SHA256, check=options.check, script="build_traffic.py")


if __name__ == "__main__":
    sys.exit(main())
