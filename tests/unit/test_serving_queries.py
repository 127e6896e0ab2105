"""What a view can be asked: roll-ups, groups, statistics, pages, formats. Exact in every shape; pages of one snapshot."""

import csv
import gzip
import io
import json
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braid.declaration_reader import parse
from braid.instants import instant_us
from braid.views import coarsen, coarser, digest
from serving import cursors
from serving.cursors import Cursor
from tests.unit.serving_world import RIDES, START_US, World, alert, client_of, ride, states_of, step
from tests.unit.test_serving_answers import CITIES, MINUTES, a_world, get

HOUR_US = 3_600_000_000
SPEC = RIDES.view("rides_by_minute")


def shaped(by: tuple[str, ...], window_us: int) -> Any:
    """Return the declaration with the view in another shape, so that `states_of` can read its rows."""
    spec = coarser(SPEC, by, window_us)

    class Shaped:
        view = staticmethod(lambda _: spec)

    return Shaped()


# ---- shapes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "by", "window_us"),
    [
        ("window=5m", ("city", "vendor"), 300_000_000),
        ("window=1h", ("city", "vendor"), HOUR_US),
        ("window=1d", ("city", "vendor"), 24 * HOUR_US),
        ("window=all", ("city", "vendor"), 0),
        ("group_by=city", ("city",), 60_000_000),
        ("group_by=vendor&group_by=vendor", ("vendor",), 60_000_000),
        ("group_by=", (), 60_000_000),
        ("group_by=vendor&group_by=city", ("city", "vendor"), 60_000_000),
        ("group_by=vendor&window=1h", ("vendor",), HOUR_US),
        ("group_by=&window=all", (), 0),
    ],
)
@pytest.mark.parametrize("cut", [0, 5, 12])
def test_a_shape_is_the_recompute_in_that_shape(query: str, by: tuple[str, ...], window_us: int, cut: int) -> None:
    world = a_world()
    if cut:
        world.publish(1, cut)
    answer = get(client_of(world), f"{MINUTES}?{query}&state=1")
    expected = coarsen(world.naive("rides_by_minute"), SPEC, coarser(SPEC, by, window_us))
    assert states_of(answer, shaped(by, window_us), "") == expected
    assert answer["meta"]["digest"] == digest(expected)


def test_the_keys_of_an_all_time_view_can_be_merged_too() -> None:
    world = a_world()
    (row,) = get(client_of(world), f"{CITIES}?group_by=")["data"]
    assert set(row) == {"fare_mean", "fare_stddev", "fare_min", "fare_max", "n"}
    assert row["n"] == sum(len(events) for events in world.events)


def test_a_filter_is_of_the_rows_before_they_are_merged() -> None:
    client = client_of(a_world())
    part = get(client, f"{MINUTES}?vendor=a&group_by=city")["data"]
    fine = get(client, f"{MINUTES}?vendor=a")["data"]
    assert [(r["window_start"], r["city"], r["n"]) for r in part] == [
        (r["window_start"], r["city"], r["n"]) for r in fine
    ]


def test_a_coarser_window_is_answered_whole_or_not_at_all() -> None:
    client = client_of(a_world())
    every = get(client, f"{MINUTES}?window=5m")["data"]
    some = get(client, f"{MINUTES}?window=5m&from=2026-01-01T00:03:00Z")["data"]
    assert some == [r for r in every if r["window_start"] >= "2026-01-01T00:05"] and 0 < len(some) < len(every)


def test_one_window_over_a_span_merges_the_windows_in_it_and_says_which() -> None:
    world = a_world()
    answer = get(client_of(world), f"{MINUTES}?window=all&group_by=&from=2026-01-01T00:02:30Z&to=2026-01-01T00:06:00Z")
    minutes = [START_US + m * 60_000_000 for m in (3, 4, 5)]
    inside = [s.n for (start, _), s in world.naive("rides_by_minute").items() if start in minutes]
    assert [r["n"] for r in answer["data"]] == [sum(inside)]
    assert (answer["meta"]["from"], answer["meta"]["to"]) == ("2026-01-01T00:03:00Z", "2026-01-01T00:06:00Z")


def test_a_window_without_events_is_a_gap_and_no_zero() -> None:
    world = World().genesis()
    world.commit([ride(1, "Bern", 100, 0), ride(2, "Bern", 100, 9)])
    client = client_of(world)
    assert [r["window_start"] for r in get(client, MINUTES)["data"]] == ["2026-01-01T00:00:00Z", "2026-01-01T00:09:00Z"]
    assert len(get(client, f"{MINUTES}?window=3m")["data"]) == 2


def test_only_the_statistics_asked_for() -> None:
    client = client_of(a_world())
    row = get(client, f"{MINUTES}?stats=mean&stats=max&limit=1")["data"][0]
    assert set(row) == {"window_start", "window_end", "city", "vendor", "fare_avg", "fare_max", "n"}


@pytest.mark.parametrize(
    ("view", "query", "parameter", "expected", "got"),
    [
        (MINUTES, "window=90s", "window", "a whole multiple of 1m up to 366d, such as 1h or 1d, or all", "90s"),
        (MINUTES, "window=30s", "window", "a whole multiple of 1m up to 366d, such as 1h or 1d, or all", "30s"),
        (MINUTES, "window=0m", "window", "a whole multiple of 1m up to 366d, such as 1h or 1d, or all", "0m"),
        (MINUTES, "window=367d", "window", "a whole multiple of 1m up to 366d, such as 1h or 1d, or all", "367d"),
        (MINUTES, "window=", "window", "a whole multiple of 1m up to 366d, such as 1h or 1d, or all", ""),
        (CITIES, "window=1d", "window", "no such parameter: rides_by_city covers all time", "1d"),
        (MINUTES, "group_by=colour", "group_by", "one of city, vendor, ", "colour"),
        (MINUTES, "group_by=&group_by=city", "group_by", "columns, or the empty text alone", ", city"),
        (CITIES, "stats=n", "stats", "one of mean, stddev, min, max", "n"),
        (MINUTES, "format=xml", "format", "one of json, csv, arrow", "xml"),
        (MINUTES, "cursor=abc", "cursor", "a cursor out of `next`", "abc"),
        (MINUTES, "cursor=", "cursor", "a cursor out of `next`", ""),
        (MINUTES, "from=2020-01-01T00:00:00Z&to=2026-01-01T00:00:00Z", "from", "at most 100000m before `to`", "2020-01-01T00:00:00Z"),
        (MINUTES, "from=9999-12-31T23:59:59-18:00", "from", "an instant such as 2026-01-31T12:00:00Z (a + is sent as %2B), or now-1h", "9999-12-31T23:59:59-18:00"),
        (MINUTES, "from=now-999999d", "from", "an instant such as 2026-01-31T12:00:00Z (a + is sent as %2B), or now-1h", "now-999999d"),
        ("/api/v1/datasets/rides/alerts", "from=now-40d&to=now", "from", "at most 31d before `to`", "now-40d"),
        ("/api/v1/datasets/rides/alerts", "min_z=-1", "min_z", "a number such as 3 or 2.5", "-1"),
        ("/api/v1/datasets/rides/alerts", "min_z=NaN", "min_z", "a number such as 3 or 2.5", "NaN"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_named(view: str, query: str, parameter: str, expected: str, got: str) -> None:
    response = client_of(a_world()).get(f"{view}?{query}")
    assert response.status_code == 400
    assert response.json["errors"] == [{"parameter": parameter, "expected": expected, "got": got}]


def test_a_key_column_called_like_a_parameter_is_asked_for_by_another_name() -> None:
    text = RIDES.text.replace("vendor", "window").replace("dataset: rides", "dataset: other")
    world = World(parse(text)).genesis()
    found = client_of(world).get("/api/v1/datasets/other/views/rides_by_minute?key.window=a&window=1h")
    assert found.status_code == 200


# ---- pages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["", "&order=desc", "&window=5m", "&group_by=city", "&city=Lima", "&from=now-1h"])
@pytest.mark.parametrize("limit", [1, 3, 7, 1000])
def test_the_pages_of_a_listing_are_the_whole(query: str, limit: int) -> None:
    client = client_of(a_world())
    whole = get(client, f"{MINUTES}?{query[1:]}")
    assert whole["next"] is None
    rows: list[Any] = []
    url: str | None = f"{MINUTES}?limit={limit}{query}"
    while url:
        response = client.get(url)
        page = response.json
        assert len(page["data"]) == page["meta"]["rows"] <= limit and page["meta"]["of_rows"] == len(whole["data"])
        assert response.headers.get("Link") == (f'<{page["next"]}>; rel="next"' if page["next"] else None)
        rows += page["data"]
        url = page["next"]
    assert rows == whole["data"]


def test_all_pages_are_of_the_snapshot_of_the_first_while_the_tail_and_the_clock_go_on() -> None:
    world = a_world()
    client = client_of(world)
    url = f"{MINUTES}?from=now-1h"
    before = get(client, url)
    first = get(client, f"{url}&limit=5")
    for number in range(900, 903):
        world.commit([ride(number, "Bern", 1, 0)])
        world.clock.advance(90_000_000)
        step(client)
    world.publish(1)
    step(client)
    assert get(client, url)["data"] != before["data"]
    rest = get(client, first["next"].replace("limit=5", "limit=1000"))
    assert first["data"] + rest["data"] == before["data"]
    assert rest["meta"]["as_of"] == before["meta"]["as_of"]


def test_a_listing_that_is_no_longer_held_is_410() -> None:
    world = a_world()
    client = client_of(world)
    first = get(client, f"{MINUTES}?limit=2")
    world.commit([ride(900, "Bern", 1)])
    step(client)
    assert client.get(first["next"]).status_code == 200
    world.monotonic.at_s += 601
    gone = client.get(first["next"])
    assert (gone.status_code, gone.mimetype) == (410, "application/problem+json")
    assert gone.json["detail"] == (
        "cursor: expected a listing that is still held, got one of generation 0, seq 12; start again without the cursor"
    )


def test_the_newest_listings_are_held_and_older_ones_make_room() -> None:
    world = a_world()
    client = client_of(world)
    pages = []
    for number in range(cursors.KEEP + 1):
        pages.append(get(client, f"{MINUTES}?limit=1")["next"])
        world.commit([ride(900 + number, "Bern", 1)])
        step(client)
    assert [client.get(page).status_code for page in pages] == [410, *[200] * cursors.KEEP]


def test_a_cursor_goes_with_its_own_question_only() -> None:
    client = client_of(a_world())
    following = get(client, f"{MINUTES}?limit=2&city=Lima")["next"]
    (error,) = client.get(following.replace("city=Lima", "city=Bern")).json["errors"]
    assert error == {"parameter": "cursor", "expected": "the other parameters as in `next`", "got": "others"}


@given(st.integers(0, 2**63), st.integers(-(2**63), 2**63), st.none() | st.integers(-(2**60), 2**60))
def test_a_cursor_comes_back_as_it_was_and_not_when_it_was_changed(seq: int, attempt: int, bound: int | None) -> None:
    cursor = Cursor(1, seq, attempt, 7, bound, None, "0123456789ab")
    text = cursor.text()
    assert cursors.read(text) == cursor
    changed = text[:-2] + ("A" if text[-2] != "A" else "B") + text[-1]
    with pytest.raises(ValueError, match=r"changed|base64url"):
        cursors.read(changed)


def test_a_bare_array_has_its_next_page_in_the_link_header() -> None:
    response = client_of(a_world()).get("/api/rides/newest?limit=1")
    assert isinstance(response.json, list) and len(response.json) == 1
    assert response.headers["Link"].startswith("</api/rides/newest?limit=1&cursor=")


def test_alerts_have_pages_and_a_least_z() -> None:
    world = World().genesis()
    world.commit([ride(1, "Bern", 1)], alerts=[alert(START_US + i, "Bern", 900, i) for i in range(5)])
    client = client_of(world)
    base = "/api/v1/datasets/rides/alerts"
    first = get(client, f"{base}?limit=3")
    assert [r["offset"] for r in first["data"] + get(client, first["next"])["data"]] == [4, 3, 2, 1, 0]
    assert len(get(client, f"{base}?min_z=3.5")["data"]) == 5 and get(client, f"{base}?min_z=3.51")["data"] == []


# ---- formats -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [("", "text/csv"), ("&format=csv", "*/*"), ("&format=csv", "application/json")])
def test_csv_holds_the_same_numbers(how: tuple[str, str]) -> None:
    client = client_of(a_world())
    query, accept = how
    rows = get(client, f"{MINUTES}?state=1")["data"]
    response = client.get(f"{MINUTES}?state=1{query}", headers={"Accept": accept})
    assert response.mimetype == "text/csv" and "Accept" in response.headers["Vary"]
    table = list(csv.DictReader(io.StringIO(response.get_data(as_text=True))))
    assert len(table) == len(rows)
    for line, row in zip(table, rows, strict=True):
        assert float(line["fare_avg"]) == row["fare_avg"] and int(line["n"]) == row["n"]
        assert line["fare_stddev"] == ("" if row["fare_stddev"] is None else repr(row["fare_stddev"]))
        assert line["state.measures.fare.sumsq"] == row["state"]["measures"]["fare"]["sumsq"]
        assert line["state.fp"] == row["state"]["fp"]


def test_arrow_holds_the_same_numbers_with_types_units_and_what_they_cover() -> None:
    client = client_of(a_world())
    answer = get(client, f"{MINUTES}?state=1")
    response = client.get(f"{MINUTES}?state=1&format=arrow")
    assert response.mimetype == "application/vnd.apache.arrow.stream"
    table = pa.ipc.open_stream(response.data).read_all()
    assert [instant_us(r["window_start"]) for r in answer["data"]] == table["window_start"].cast(pa.int64()).to_pylist()
    for name in ("city", "fare_avg", "fare_stddev", "n"):
        assert table[name].to_pylist() == [r[name] for r in answer["data"]]
    assert [str(v) for v in table["state.fp"].to_pylist()] == [r["state"]["fp"] for r in answer["data"]]
    assert table.schema.field("fare_max").metadata[b"unit"] == b"USD"
    assert json.loads(table.schema.metadata[b"braid"]) == answer["meta"]


def test_a_format_has_its_own_etag() -> None:
    client = client_of(a_world())
    tags = {client.get(f"{MINUTES}?format={name}").headers["ETag"] for name in ("json", "csv", "arrow")}
    assert len(tags) == 3
    response = client.get(MINUTES, headers={"Accept": "text/csv", "If-None-Match": client.get(MINUTES).headers["ETag"]})
    assert response.status_code == 200


def test_csv_is_compressed_for_whoever_asks_and_told_apart_by_caches() -> None:
    client = client_of(a_world())
    plain = client.get(f"{MINUTES}?format=csv")
    packed = client.get(f"{MINUTES}?format=csv", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip" and gzip.decompress(packed.data) == plain.data
    assert {"Accept", "Accept-Encoding"} <= {word.strip() for word in packed.headers["Vary"].split(",")}
    again = {"Accept-Encoding": "gzip", "If-None-Match": packed.headers["ETag"]}
    assert packed.headers["ETag"] != plain.headers["ETag"]
    assert client.get(f"{MINUTES}?format=csv", headers=again).status_code == 304


def test_what_cannot_be_written_is_406() -> None:
    client = client_of(a_world())
    for url in (MINUTES, "/api/v1/status", "/api/v1/datasets"):
        response = client.get(url, headers={"Accept": "image/png"})
        assert (response.status_code, response.mimetype) == (406, "application/problem+json")
    assert client.get("/api/v1/status", headers={"Accept": "text/csv"}).status_code == 406
    browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    assert client.get(MINUTES, headers={"Accept": browser}).mimetype == "application/json"


@pytest.mark.parametrize("query", ["", "?state=1", "?window=all", "?group_by=", "?stats=mean"])
def test_rows_hold_the_columns_that_are_declared_of_them(query: str) -> None:
    client = client_of(a_world())
    row = get(client, MINUTES + query)["data"][0]
    header = client.get(MINUTES + query, headers={"Accept": "text/csv"}).get_data(as_text=True).split("\r\n")[0]

    def names(value: Any, at: str = "") -> list[str]:
        if isinstance(value, dict):
            return [name for key, inner in value.items() for name in names(inner, f"{at}.{key}" if at else key)]
        return [at]

    assert header.split(",") == names(row)


def test_strange_values_are_data_in_every_format() -> None:
    world = World().genesis()
    strange = '<img onerror="x">, "\r\n=1+1\u202e'
    world.commit([ride(1, "Bern", 100, vendor=strange)])
    client = client_of(world)
    found = f"{MINUTES}?vendor={quote(strange)}"
    assert get(client, found)["data"][0]["vendor"] == strange
    text = client.get(f"{found}&format=csv").get_data(as_text=True)
    assert next(csv.DictReader(io.StringIO(text, newline="")))["vendor"] == strange


def test_a_query_that_takes_too_long_is_refused() -> None:
    world = a_world()
    client = client_of(world)
    ticks = iter(range(1000, 10_000, 3))
    client.application.extensions["braid"]._monotonic = lambda: float(next(ticks))
    response = client.get(f"{MINUTES}?city=Bern&state=1")
    assert response.status_code == 400 and response.json["type"] == "urn:braid:problem:too-much"
