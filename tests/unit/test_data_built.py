"""The committed samples of taxi trips, traffic and the made-up forum: they are what their scripts state, and say so.

Golden numbers are computed here from the files alone, with Decimal and the standard library, where the scripts use
fractions; a file that was edited by hand, or a script that was changed without a new build, fails by its sha256.
"""

import csv
import gzip
import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import TypeAlias

import build_nyc_taxi
import build_reddit
import build_traffic
import pinned
import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = (build_nyc_taxi, build_traffic, build_reddit)
MEGABYTE = 1_000_000

Rows: TypeAlias = list[dict[str, str]]


def text_of(name: str) -> str:
    data = (ROOT / "data" / name).read_bytes()
    return (gzip.decompress(data) if name.endswith(".gz") else data).decode()


def table(name: str) -> Rows:
    return list(csv.DictReader(io.StringIO(text_of(name))))


@pytest.fixture(scope="module")
def trips() -> Rows:
    return table("nyc_taxi/trips.csv.gz")


@pytest.fixture(scope="module")
def forum() -> dict[str, Rows]:
    return {name: table(f"reddit/reddit.{name}/{name}.csv.gz") for name in ("posts", "comments", "users")}


def seconds(row: dict[str, str]) -> int:
    begin, end = (datetime.fromisoformat(row[name]) for name in ("pickup_datetime", "dropoff_datetime"))
    return (end - begin) // timedelta(seconds=1)


# ---- what is committed is what was built


@pytest.mark.parametrize(("name", "stated"), [pair for script in SCRIPTS for pair in script.SHA256.items()])
def test_a_committed_file_holds_the_text_its_script_states(name: str, stated: str) -> None:
    assert hashlib.sha256(text_of(name).encode()).hexdigest() == stated


def test_no_file_of_data_is_without_a_script() -> None:
    stated = {name for script in SCRIPTS for name in script.SHA256}
    found = {str(p.relative_to(ROOT / "data")) for p in (ROOT / "data").rglob("*.csv*")}
    assert {name for name in found if not name.startswith("landcover/")} == stated


def test_the_samples_are_small() -> None:
    sizes: Counter[str] = Counter()
    for script in SCRIPTS:
        for name in script.SHA256:
            sizes[name.split("/", maxsplit=1)[0]] += (ROOT / "data" / name).stat().st_size
    assert max(sizes.values()) < MEGABYTE


def test_a_text_that_was_not_stated_is_refused_before_anything_is_written() -> None:
    with pytest.raises(SystemExit, match=r"data/reddit/x\.csv: expected text of sha256 0, got .*; nothing was written"):
        pinned.settle({"reddit/x.csv": "a\n"}, {"reddit/x.csv": "0"}, check=False, script="build_reddit.py")
    assert not (ROOT / "data" / "reddit" / "x.csv").exists()


def test_a_changed_package_or_file_is_refused(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.write_bytes(b"another")
    for source in (build_nyc_taxi.SOURCE, build_traffic.CHICAGO):
        with pytest.raises(SystemExit, match=r"expected sha256 .*, got .*; the source changed, nothing was written"):
            source.read(package)


def test_a_packed_file_holds_no_name_and_no_time() -> None:
    data = pinned.packed("a,b\n")
    assert data[3:8] == bytes(5)
    assert gzip.decompress(data) == b"a,b\n"


def test_the_attribution_names_what_the_scripts_check() -> None:
    text = (ROOT / "data" / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for source in (build_nyc_taxi.SOURCE, build_traffic.CHICAGO):
        for pin in (source.package.replace("==", " "), source.sha256, source.member_sha256, Path(source.member).name):
            assert pin in text
    assert "Apache-2.0" in text
    assert "generated" in text
    assert str(build_reddit.SEED) in text


# ---- New York


def test_the_trips_are_the_golden_ones(trips: Rows) -> None:
    assert len(trips) == len({row["trip_id"] for row in trips}) == 30_000
    assert Counter(row["vendor_id"] for row in trips) == {"1": 8609, "2": 21391}
    assert sum(seconds(row) for row in trips) == 21_531_262
    columns = ("fare_amount", "trip_distance", "total_amount", "tip_amount")
    sums = {column: str(sum(Decimal(row[column]) for row in trips)) for column in columns}
    assert sums == {
        "fare_amount": "415499.58",
        "trip_distance": "108281.24",
        "total_amount": "601218.45",
        "tip_amount": "72266.18",
    }
    assert len({row["pickup_location_id"] for row in trips}) == 169


def test_the_known_defects_are_kept(trips: Rows) -> None:
    found = {
        "no time": sum(seconds(row) <= 0 for row in trips),
        "under 1 minute": sum(seconds(row) < 60 for row in trips),
        "over 2 hours": sum(seconds(row) > 7200 for row in trips),
        "no distance": sum(Decimal(row["trip_distance"]) == 0 for row in trips),
        "refund": sum(Decimal(row["fare_amount"]) < 0 for row in trips),
        "unknown zone": sum(row["pickup_location_id"] in {"264", "265"} for row in trips),
        "another year": sum(row["pickup_datetime"] < "2021" for row in trips),
    }
    assert found == {
        "no time": 21,
        "under 1 minute": 625,
        "over 2 hours": 3,
        "no distance": 535,
        "refund": 217,
        "unknown zone": 251,
        "another year": 1,
    }


def test_the_trips_come_when_they_end_and_so_many_are_late_by_their_beginning(trips: Rows) -> None:
    ends = [(row["dropoff_datetime"], row["trip_id"]) for row in trips]
    assert ends == sorted(ends)
    newest, late = "", 0
    for row in trips:
        newest = max(newest, row["pickup_datetime"])
        behind = datetime.fromisoformat(newest) - datetime.fromisoformat(row["pickup_datetime"])
        late += behind > timedelta(minutes=10)
    assert 0.4 < late / len(trips) < 0.5


def test_the_small_trips_are_the_first_usable_ones(trips: Rows) -> None:
    usable = [r for r in trips if 60 <= seconds(r) <= 7200 and r["passenger_count"] not in {"", "0"}][:500]
    minutes = [(Decimal(seconds(r)) / 60).quantize(Decimal(1), ROUND_HALF_EVEN) for r in usable]
    expected = [
        {"trip_id": str(number), "duration": str(duration), "passenger_count": row["passenger_count"]}
        for number, (duration, row) in enumerate(zip(minutes, usable, strict=True), start=1001)
    ]
    assert table("taxi_trips/trips.csv") == expected


# ---- traffic


def test_the_traffic_is_that_of_the_usable_trips(trips: Rows) -> None:
    def events() -> Iterator[dict[str, str]]:
        for row in trips:
            distance, time = Decimal(row["trip_distance"]), seconds(row)
            if not (60 <= time <= 7200 and distance > 0 and Decimal(row["fare_amount"]) >= 0):
                continue
            if distance * 3600 <= 80 * time:
                zone = row["pickup_location_id"]
                yield {
                    "event_id": row["trip_id"],
                    "event_time": row["pickup_datetime"],
                    "cell_id": f"tlc-{zone}",
                    "speed_mph": str((distance * 3600 / time).quantize(Decimal("0.01"), ROUND_HALF_EVEN)),
                    "is_rush_hour": "0",  # a Saturday, but for a few trips late in two evenings
                    "is_manhattan": str(int(int(zone) in build_traffic.MANHATTAN)),
                }

    found, expected = table("traffic/trips.csv.gz"), list(events())
    assert len(found) == 30_000 > len(expected) > 28_000
    for got, want in zip(found, expected, strict=False):
        assert got == want
    assert sum(Decimal(row["speed_mph"]) for row in found) == Decimal("482620.07")
    assert Counter(row["is_manhattan"] for row in found) == {"1": 27_410, "0": 2_590}
    assert len({(row["event_time"][:16], row["cell_id"]) for row in found}) == 17_926


def test_there_are_69_zones_of_manhattan() -> None:
    assert len(build_traffic.MANHATTAN) == 69


@pytest.mark.parametrize(
    ("local", "rush"),
    [("2022-01-03T06:59:59", 0), ("2022-01-03T07:00:00", 1), ("2022-01-03T09:59:59", 1), ("2022-01-03T10:00:00", 0),
     ("2022-01-07T18:30:00", 1), ("2022-01-07T19:00:00", 0), ("2022-01-08T08:00:00", 0)],
)  # fmt: skip
def test_the_rush_hour_is_on_weekdays(local: str, rush: int) -> None:
    assert build_traffic.rush_hour(datetime.fromisoformat(local)) == rush


def test_chicago_has_places_and_its_cells_are_those_of_the_places() -> None:
    found = table("traffic/chicago/trips.csv.gz")
    assert len(found) == len({row["event_id"] for row in found}) == 10_805
    assert len({row["cell_id"] for row in found}) == 125
    assert sum(Decimal(row["speed_mph"]) for row in found) == Decimal("145071.47")
    assert Counter(row["is_rush_hour"] for row in found) == {"0": 8_503, "1": 2_302}
    for row in found:
        corner = [(Decimal(row[n]) * 100).to_integral_value(ROUND_FLOOR) for n in ("pickup_lat", "pickup_lon")]
        assert row["cell_id"] == f"chi-{corner[0]}_{corner[1]}"
        assert Decimal(0) < Decimal(row["speed_mph"]) <= 80
        assert row["event_time"].endswith("Z")


def test_chicago_time_is_written_as_utc_in_winter_and_summer() -> None:
    header = "trip_start_timestamp,trip_seconds,trip_miles,fare,pickup_latitude,pickup_longitude\n"
    rows = "".join(f"{t},600,2,5,41.5,-87.25\n" for t in (1357021800, 1373362200))  # 06:30 and 09:30 by the local clock
    found = list(build_traffic.chicago((header + rows).encode()))
    assert [(e[1], e[4], e[5], e[6]) for e in found] == [
        ("2013-01-01T12:30:00Z", "chi-4150_-8725", "12.00", 0),
        ("2013-07-09T14:30:00Z", "chi-4150_-8725", "12.00", 1),
    ]


# ---- the forum


def test_the_forum_is_made_again_byte_for_byte() -> None:
    made = build_reddit.tables_of(build_reddit.SEED, build_reddit.POSTS, build_reddit.COMMENTS)
    assert {name: hashlib.sha256(text.encode()).hexdigest() for name, text in made.items()} == build_reddit.SHA256
    assert build_reddit.tables_of(1, 30, 90) == build_reddit.tables_of(1, 30, 90) != build_reddit.tables_of(2, 30, 90)


def test_the_forum_has_the_golden_counts(forum: dict[str, Rows]) -> None:
    assert {name: len(rows) for name, rows in forum.items()} == {"posts": 9094, "comments": 17452, "users": 7761}
    assert len({row["post_id"] for row in forum["posts"]}) == 5_000
    assert len({row["comment_id"] for row in forum["comments"]}) == 15_000
    assert len({row["user_id"] for row in forum["users"]}) == 6_872
    assert sum(row["content"] == "[deleted]" for row in forum["posts"]) == 134
    assert sum(row["content"] == "[deleted]" for row in forum["comments"]) == 278


@pytest.mark.parametrize(("name", "key"), [("posts", "post_id"), ("comments", "comment_id"), ("users", "user_id")])
def test_a_later_record_is_an_edit_of_the_same_thing(forum: dict[str, Rows], name: str, key: str) -> None:
    rows = forum[name]
    assert [r["timestamp"] for r in rows] == sorted(r["timestamp"] for r in rows)
    assert "2026-03-01T00:00:00Z" <= rows[0]["timestamp"] <= rows[-1]["timestamp"] < "2026-03-08T00:00:00Z"
    assert len({(r[key], r["timestamp"]) for r in rows}) == len(rows)
    first: dict[str, dict[str, str]] = {}
    for row in rows:
        before = first.setdefault(row[key], row)
        changing = {"score", "num_comments", "content", "timestamp", "karma"}
        assert {k: v for k, v in row.items() if k not in changing} == {
            k: v for k, v in before.items() if k not in changing
        }
        if name != "users":
            assert before["timestamp"] == before["created_utc"]
            assert row["content"] in {before["content"], "[deleted]"}


def test_a_post_knows_how_many_comments_it_has(forum: dict[str, Rows]) -> None:
    posts = {row["post_id"]: row["created_utc"] for row in forum["posts"]}
    answers: dict[str, list[str]] = {}
    for row in forum["comments"]:
        if row["timestamp"] == row["created_utc"]:
            assert posts[row["post_id"]] <= row["created_utc"]
            answers.setdefault(row["post_id"], []).append(row["created_utc"])
    for row in forum["posts"]:
        assert int(row["num_comments"]) == sum(t <= row["timestamp"] for t in answers.get(row["post_id"], []))


def test_everybody_who_writes_has_a_record_by_then(forum: dict[str, Rows]) -> None:
    known = {}
    for row in forum["users"]:
        known.setdefault(row["user_id"], row["timestamp"])
    for name in ("posts", "comments"):
        for row in forum[name]:
            assert known[row["user_id"]] <= row["created_utc"]


def shares(found: Iterable[str]) -> tuple[float, float, float, float]:
    """Return what the busiest, the ten busiest and the busiest 1 % have of all, and how many are seen once."""
    counts = sorted(Counter(found).values(), reverse=True)
    of = sum(counts)
    once = sum(n == 1 for n in counts) / len(counts)
    return counts[0] / of, sum(counts[:10]) / of, sum(counts[: len(counts) // 100]) / of, once


def test_who_acts_and_where_is_as_skewed_as_measured(forum: dict[str, Rows]) -> None:
    written = [r for name in ("posts", "comments") for r in forum[name] if r["timestamp"] == r["created_utc"]]
    written.sort(key=lambda r: r["created_utc"])
    users = [row["user_id"] for row in written[:10_000]]
    assert len(set(users)) == pytest.approx(4517, rel=0.03)
    assert shares(users) == pytest.approx((0.057, 0.16, 0.23, 0.64), abs=0.05)
    process = build_reddit.Process(*build_reddit.SUBREDDITS, build_reddit.random.Random(1).random)
    places = [str(process.next()) for _ in range(10_000)]
    assert len(set(places)) == pytest.approx(5530, rel=0.05)
    assert shares(places)[1:] == pytest.approx((0.055, 0.13, 0.72), abs=0.05)


def test_a_night_has_less_than_an_evening(forum: dict[str, Rows]) -> None:
    hours = Counter(row["created_utc"][11:13] for row in forum["comments"])
    assert hours["04"] * 2 < hours["19"] < hours["04"] * 5
