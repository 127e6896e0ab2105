"""The dashboard's pure functions, imported by a page and tried with values: no fetch, no DOM, no Node."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.twin import running

VIEW = {
    "view": "by_city", "title": "Fares", "url": "/v", "by": ["city"], "window_s": 60, "values": {}, "filters": {"city": "city"},
    "measures": [{"measure": "fare", "of": "fare_usd", "scale": 2, "unit": "USD"}],
    "columns": [{"column": "fare_avg", "measure": "fare", "stat": "mean"}, {"column": "fare_sd", "measure": "fare", "stat": "stddev"}],
}  # fmt: skip
THEME = {
    "series": [f"#00000{i}" for i in range(8)], "surface": "#fff", "ink": "#000", "soft": "#888", "grid": "#eee", "faint": "#8885",
    "high": "#f00", "low": "#00f",
}  # fmt: skip


@pytest.fixture(scope="module")
def page(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Yield an empty page of the dashboard's origin, where modules can be imported."""
    with running(tmp_path_factory.mktemp("twin")) as twin:
        context = browser.new_context()
        opened = context.new_page()
        opened.goto(f"{twin.url}/healthz")
        yield opened
        context.close()


def call(page: Page, module: str, code: str, *values: Any) -> Any:
    """Return the value of an expression over a module's exports `m` and the values `v`."""
    script = f"async (v) => {{ const m = await import('/static/pure/{module}.js'); return ({code}); }}"
    return page.evaluate(script, list(values))


def row(minute: int, city: str, mean: float | None, n: int = 2) -> dict[str, Any]:
    start, end = (f"2026-01-01T00:{m:02}:00Z" for m in (minute, minute + 1))
    return {"window_start": start, "window_end": end, "city": city, "fare_avg": mean, "fare_sd": 1.0, "n": n}


# ---- the address ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "/",
        "/?page=pipeline",
        "/?dataset=landcover",
        "/?dataset=landcover&from=now-1h&key.class_name=%3Cimg+onerror%3E&key.class_name=a+%26+b&refresh=0&theme=dark",
        "/?dataset=landcover&from=2026-01-01T00%3A00%3A00Z&to=2026-01-02T00%3A00%3A00Z&panel=x&key.city=B&measure.v=nir1&refresh=30",
    ],
)
def test_an_address_is_a_view_and_a_view_an_address(page: Page, address: str) -> None:
    assert call(page, "url", "m.format(m.parse(v[0].slice(1)))", address) == address
    assert call(
        page,
        "url",
        "JSON.stringify(m.parse(m.format(m.parse(v[0].slice(1))).slice(1))) === JSON.stringify(m.parse(v[0].slice(1)))",
        address,
    )


@pytest.mark.parametrize(
    "address",
    [
        "?page=nowhere",
        "?refresh=7",
        "?refresh=x",
        "?theme=pink",
        "?from=yesterday",
        "?to=2026-99-01T00:00Z",
        "?page=dataset",
        "?key.=",
    ],
)
def test_what_is_no_view_is_left_out(page: Page, address: str) -> None:
    assert call(page, "url", "m.format(m.parse(v[0]))", address) == "/"


def test_a_state_asks_the_api_for_its_range_and_its_keys(page: Page) -> None:
    state = {"from": "now-1h", "to": None, "keys": {"city": ["Bern", "Lima"], "other": ["x"]}}
    assert (
        call(page, "url", "m.apiUrl(v[0], v[1], {limit: 9})", VIEW, state)
        == "/v?from=now-1h&city=Bern&city=Lima&limit=9"
    )
    collides = VIEW | {"window_s": None, "filters": {"city": "key.city"}}
    assert call(page, "url", "m.apiUrl(v[0], v[1])", collides, state) == "/v?key.city=Bern&key.city=Lima"


def test_a_drag_becomes_whole_seconds(page: Page) -> None:
    assert call(page, "url", "m.isRange(1500, 1900)") == {"from": "1970-01-01T00:00:01Z", "to": "1970-01-01T00:00:02Z"}


# ---- keys and colours ----------------------------------------------------------------------------------------------


def test_a_click_on_a_key_chooses_it_and_a_second_click_everything(page: Page) -> None:
    rides = {"city": "Bern", "vendor": "a"}
    once = call(page, "keys", "m.toggled({day: ['x']}, ['city', 'vendor'], v[0])", rides)
    assert once == {"day": ["x"], "city": ["Bern"], "vendor": ["a"]}
    assert call(page, "keys", "m.toggled(v[0], ['city', 'vendor'], v[1])", once, rides) == {"day": ["x"]}
    both = call(page, "keys", "m.toggled({city: ['Lima']}, ['city'], v[0], true)", rides)
    assert both == {"city": ["Bern", "Lima"]}
    assert call(page, "keys", "m.toggled(v[0], ['city'], v[1], true)", both, rides) == {"city": ["Lima"]}


def test_a_key_keeps_its_colour_whatever_else_is_drawn(page: Page) -> None:
    code = "[...m.slotsOf(v[0], v[1])]"
    assert call(page, "keys", code, ["a", "b", "c"], ["a", "c"]) == [["a", 0], ["c", 2]]
    many = [f"k{i:02}" for i in range(20)]
    assert call(page, "keys", code, many, ["k00", "k08"]) == [["k00", 0], ["k08", 1]]  # they would share one


def test_of_many_keys_those_with_the_most_events_are_drawn(page: Page) -> None:
    rows = [row(0, f"c{i:02}", 1.0, n=i) for i in range(20)]
    assert call(page, "keys", "m.drawnKeys(['city'], v[0])", rows) == {
        "keys": [f"c{i}" for i in range(12, 20)],
        "left": 12,
    }


# ---- the tail ------------------------------------------------------------------------------------------------------


def test_a_late_event_makes_an_old_window_provisional_and_leaves_the_marker(page: Page) -> None:
    rows = [row(0, "Bern", 1.0), row(1, "Bern", 2.0, 3), row(2, "Bern", 3.0, 4), row(3, "Bern", 4.0)]
    tail = [row(0, "Bern", 9.0, 1), row(2, "Bern", 3.0, 1), row(3, "Bern", 4.0, 2)]
    code = "(() => { const t = m.tailOf(['city'], v[1]); return {fresh: v[0].map(r => m.fresh(['city'], t, r)), mark: m.cutMark(['city'], t, v[0])}; })()"
    found = call(page, "tail", code, rows, tail)
    # the newest window that holds a published event is 00:02: the marker stands at its end
    assert found == {"fresh": [1, 0, 1, 2], "mark": 1_767_225_780_000}
    assert call(page, "tail", code, rows, rows)["mark"] is None  # all of it is the stream's


def test_lines_are_dashed_and_hollow_where_they_are_provisional_and_break_at_gaps(page: Page) -> None:
    rows = [row(0, "Bern", 1.0), row(1, "Bern", 2.0), row(5, "Bern", 3.0), row(0, "Lima", 1.0)]
    code = """(() => { const c = m.seriesChart({view: v[0], rows: v[1], tail: new Map([["2026-01-01T00:05:00Z|Bern", 2]]),
        as_of: {generation: 3}, measure: "fare", known: ["Bern", "Lima"], theme: v[2], bounds: {}}); const d = c.data.datasets[0];
        const seg = (i, a, b) => ({dash: d.segment.borderDash({p1DataIndex: i}), color: d.segment.borderColor({p0: {parsed: {x: a}}, p1: {parsed: {x: b}}})});
        return {fill: d.pointBackgroundColor, far: seg(2, d.data[1].x, d.data[2].x), near: seg(1, d.data[0].x, d.data[1].x), marks: Object.keys(c.options.plugins.annotation.annotations)}; })()"""
    found = call(page, "series", code, VIEW, rows, THEME)
    assert found["fill"] == ["#000000", "#000000", "#fff"]
    assert found["far"] == {"dash": [5, 4], "color": "transparent"} and found["near"] == {"dash": None, "color": None}
    assert found["marks"] == ["cut"]


# ---- numbers, tables, texts ----------------------------------------------------------------------------------------


def test_how_far_a_key_lies_from_its_history(page: Page) -> None:
    totals = [
        {"city": c, "fare_avg": 10.0, "fare_sd": sd, "n": 50} for c, sd in (("Bern", 2.0), ("Lima", 1.0), ("Oslo", 0.0))
    ]
    code = "m.comparisons({view: v[0], measure: 'fare', rows: v[1], history: {view: v[0], measure: 'fare'}, totals: v[2]}).map(c => [c.key, c.sigma])"
    rows = [row(0, "Bern", 11.0), row(0, "Lima", 7.0), row(0, "Oslo", 99.0)]
    assert call(page, "compare", code, VIEW, rows, totals) == [["Lima", -3], ["Bern", 0.5]]


def test_a_csv_keeps_every_digit_and_quotes_what_must_be(page: Page) -> None:
    table = {
        "columns": [{"name": "city"}, {"name": "fare"}],
        "rows": [[{"value": 'a "b", c'}, {"value": 0.1234567890123}], [{"value": None}, {"value": -1}]],
    }
    assert call(page, "tables", "m.csvOf(v[0])", table) == 'city,fare\r\n"a ""b"", c",0.1234567890123\r\n,-1\r\n'


def test_windows_without_events_are_zero_events_and_no_value(page: Page) -> None:
    rows = [row(0, "Bern", 1.0, 3), row(0, "Lima", 5.0, 1), row(2, "Bern", 2.0, 2)]
    start = 1_767_225_600_000
    assert call(page, "headline", "m.eventsPerWindow(v[0], v[1])", VIEW, rows) == [
        [start, 4],
        [start + 60_000, 0],
        [start + 120_000, 2],
    ]
    found = call(
        page,
        "headline",
        "m.headlines(v[0], 'fare', v[1]).map(h => [h.key, h.value, h.change, h.points.length])",
        VIEW,
        rows,
    )
    assert found == [["Bern", 2, 1, 2], ["Lima", 5, None, 1]]


def test_failures_double_the_wait_and_off_is_off(page: Page) -> None:
    code = "[m.waitOf(5, 0), m.waitOf(0, 0), m.waitOf(1, 1), m.waitOf(5, 2), m.waitOf(30, 9), m.waitOf(1, 1, 20)]"
    assert call(page, "pace", code) == [5000, None, 5000, 10000, 60000, 20000]
    samples = [{"at_ms": 0, "value": 0}, {"at_ms": 100_000, "value": 500}, {"at_ms": 102_000, "value": 600}]
    assert call(page, "pace", "m.rateOf(v[0])", samples) == 50
    assert call(page, "pace", "m.rateOf(v[0].slice(0, 1))", samples) is None


def test_addresses_in_a_text_become_links_and_nothing_else_does(page: Page) -> None:
    text = "A <b>b</b> (https://example.org/a+b), javascript:alert(1); https://example.org."
    assert call(page, "text", "m.linkParts(v[0])", text) == [
        {"text": "A <b>b</b> ("}, {"text": "example.org/a+b", "href": "https://example.org/a+b"}, {"text": "), javascript:alert(1); "},
        {"text": "example.org", "href": "https://example.org"}, {"text": "."},
    ]  # fmt: skip


def test_ticks_stand_on_round_times(page: Page) -> None:
    code = "(() => { const t = m.ticksOf(v[0], v[1], 8); return t.map(x => m.tickText(x, t[1] - t[0])); })()"
    assert call(page, "ticks", code, 1_767_225_900_000, 1_767_240_000_000) == [
        "00:30",
        "01:00",
        "01:30",
        "02:00",
        "02:30",
        "03:00",
        "03:30",
        "04:00",
    ]
    assert call(page, "ticks", code, 1_767_225_600_000, 1_767_225_600_000 + 4 * 86_400_000)[0] == "1 Jan"


# ---- the pipeline --------------------------------------------------------------------------------------------------

STATUS = {
    "dataset": "rides", "partitions": [{"topic": "t", "partition": 0, "end": 12, "head": 10, "lag": 2}], "lag": {"events": 2, "seconds": 0.4},
    "head": {"seq": 4, "kind": "micro", "committed_at": "2026-01-01T00:00:00Z"}, "counts": {"good": 7, "copies": 1, "dead": 2, "absent": 0, "alerts": 0},
    "generation": {"generation": 1, "cut_seq": 3, "seqs_behind_head": 1, "published_at": "2026-01-01T00:00:00Z", "every_s": 600, "next_due": "2026-01-01T00:10:00Z"},
    "problems": [], "freshness_s": 0.1,
    "serving": {"as_of": {"generation": 1, "cut_seq": 3, "seq": 4, "offsets": {"t:0": 10}}, "complete": True, "missing": []},
}  # fmt: skip
NOW_MS = 1_767_225_660_000


def stages(page: Page, status: dict[str, Any], now_ms: int = NOW_MS) -> dict[str, tuple[str, str, str]]:
    code = "m.stagesOf({status: v[0], rates: {}, now_ms: v[1]}).map(s => [s.name, s.state, s.what, s.next])"
    return {name: (state, what, after) for name, state, what, after in call(page, "flow", code, status, now_ms)}


def test_a_sound_pipeline_has_no_red(page: Page) -> None:
    assert {state for state, _, _ in stages(page, STATUS).values()} == {"ok"}


@pytest.mark.parametrize(
    ("changed", "stage", "says", "command"),
    [
        ({"lag": {"events": 2, "seconds": 300.0}}, "stream", "2 records wait since 5 min: the stream stands still.", "braid logs speed-rides"),
        ({"head": None, "next": "braid up"}, "stream", "The dataset has no ledger yet.", "braid up"),
        ({"serving": None, "reason": "it is being loaded", "next": "braid status"}, "answers", "None yet: it is being loaded.", "braid status"),
        ({"serving": STATUS["serving"] | {"complete": False, "missing": [{"what": "gap", "reason": "records are gone"}]}}, "answers", "gap: records are gone", "braid status"),
    ],
)  # fmt: skip
def test_a_red_stage_says_what_broke_and_what_to_do(
    page: Page, changed: dict, stage: str, says: str, command: str
) -> None:
    assert stages(page, STATUS | changed)[stage] == ("bad", says, command)


def test_a_silent_store_and_missed_batches_are_red(page: Page) -> None:
    silent = STATUS | {"problems": ["cassandra: no answer since noon: refused"]}
    assert stages(page, silent)["store"] == (
        "bad",
        "no answer since noon: refused. Answers stay as they were and say so.",
        "braid up",
    )
    assert stages(page, silent)["topic"][0] == "ok"
    late = stages(page, STATUS, NOW_MS + 3_600_000)["batch"]
    assert late[0] == "bad" and late[2] == "braid batch rides" and late[1].startswith("Two runs were missed")


def test_a_job_that_does_not_run_is_red(page: Page) -> None:
    found = stages(page, STATUS | {"jobs": {"speed": {"running": False}, "batch": {"running": False}}})
    assert (found["stream"][0], found["stream"][2]) == ("bad", "braid up")
    assert (found["batch"][0], found["batch"][2]) == ("bad", "braid up")
    assert {state for state, _, _ in stages(page, STATUS | {"jobs": {"speed": {"running": True}}}).values()} == {"ok"}


def test_an_accepted_gap_is_told(page: Page) -> None:
    gap = {"seq": 7, "topic": "t", "partition": 0, "from": 10, "to": 1200, "reason": "retention"}
    assert call(page, "cover", "m.gapLines(v[0])", {"gaps": [gap]}) == [
        "accepted gap (seq 7): t:0 offsets 10 to 1,200 are not counted: retention"
    ]
    assert call(page, "cover", "m.gapLines(v[0])", {}) == []


def test_phases_and_audits_are_told_where_they_are_known(page: Page) -> None:
    micro = {"seq": 1204, "seconds": 0.187, "phases": {"wal": 0.006, "computed": 0.083, "put": 0.0001}}
    assert call(page, "flow", "m.phasesText(v[0])", micro) == "micro-batch 1,204 took 187 ms: wal 6 ms, computed 83 ms"
    assert call(page, "flow", "m.phasesText(undefined)") == ""
    audit = {"checked": 3, "unaudited": [{"seq": 1, "through": 2, "reason": "bulk"}]}
    assert call(page, "flow", "m.generationsOf(v[0])", STATUS | {"audit": audit}) == [
        ["1", "served", "seq 3", "2026-01-01 00:00:00", "3 micro-batches equal; seq 1 to 2 by counts: bulk"]
    ]
    assert call(page, "flow", "m.generationsOf(v[0])", STATUS) == []


def test_the_account_adds_up_or_says_that_it_does_not(page: Page) -> None:
    assert call(page, "account", "(a => [a.adds, a.text, a.rows[0].slice(1)])(m.accountOf(v[0]))", STATUS) == [
        True, "10 offsets covered = 7 counted + 1 copies + 2 dead letters + 0 absent", [12, 10, 2, 7, 1, 2, 0],
    ]  # fmt: skip
    assert call(page, "account", "m.accountOf(v[0]).adds", STATUS | {"counts": STATUS["counts"] | {"good": 6}}) is False


def test_every_pure_module_imports_nothing_but_pure_ones() -> None:
    folder = Path(__file__).parents[2] / "dashboard" / "pure"
    for module in folder.glob("*.js"):
        text = module.read_text("utf-8")
        assert all(line.split('"')[-2].startswith("./") for line in text.splitlines() if line.startswith("import ")), (
            module
        )
        assert not any(word in text for word in ("document.", "fetch(", "window.", "Date.now", "new Chart")), module


# ---- maps ----------------------------------------------------------------------------------------------------------

PLACES = VIEW | {
    "map": {"lat": "north", "lon": "east", "colour": "level", "value": "fare_avg", "size": "rides"},
    "words": [{"column": "level", "of": "fare_avg", "words": ["High", "Medium", "Low"]}],
    "columns": [
        *VIEW["columns"],
        {"column": "rides", "measure": "fare", "stat": "n"},
        {"column": "north", "measure": "fare", "stat": "mean"},
        {"column": "east", "measure": "fare", "stat": "mean"},
    ],
}
NO_ROLL_UP = {"from": None, "to": None, "keys": {}, "per": {}}


def place(city: str, north: float | None, east: float | None, level: str | None = "Low", rides: int = 4) -> dict:
    return row(0, city, 1.5) | {"north": north, "east": east, "level": level, "rides": rides}


def test_a_map_asks_for_one_window_with_the_columns_it_shows(page: Page) -> None:
    window = {"window_start": "2026-01-01T00:00:00Z", "window_end": "2026-01-01T00:01:00Z"}
    url = call(page, "map", "m.rowsUrl(v[0], v[1], v[2], v[2])", PLACES, NO_ROLL_UP, window)
    assert url == "/v?from=2026-01-01T00%3A00%3A00Z&to=2026-01-01T00%3A01%3A00Z&stats=mean&stats=n"
    rolled = NO_ROLL_UP | {"per": {"by_city": "1h"}, "keys": {"city": ["Bern"]}}
    url = call(page, "map", "m.windowsUrl(v[0], v[1], null)", PLACES, rolled)
    assert url == "/v?city=Bern&window=1h&group_by=&stats=mean&order=desc&limit=5000"
    url = call(
        page, "map", "m.windowsUrl(v[0], v[1], v[2])", PLACES, NO_ROLL_UP | {"from": "now-1h"}, "2026-01-01T00:00:00Z"
    )
    assert url == "/v?group_by=&stats=mean&order=desc&limit=5000&from=2026-01-01T00%3A00%3A00Z"
    assert call(page, "map", "m.extentUrl(v[0], v[1])", PLACES, NO_ROLL_UP) == "/v?window=all&stats=mean"
    assert call(page, "map", "[1, 40, 1000, 10 ** 6].map(m.atOnce)") == [60, 50, 2, 1]


def test_a_place_is_where_both_numbers_are_and_never_made_up(page: Page) -> None:
    rows = [
        place("Bern", 46.9, 7.4), place("Null", None, None), place("Half", 46.9, None), place("Zero", 0, 0),
        place("Pole", 89.9, 0), place("Far", 10, 181), place("Text", "46.9", "7.4"),
    ]  # fmt: skip
    assert call(page, "map", "v[1].map(r => m.placeOf(v[0].map, r))", PLACES, rows) == [
        [46.9, 7.4], None, None, [0, 0], None, None, None,
    ]  # fmt: skip
    said = call(page, "map", "m.nowhereText(v[0], v[1])", PLACES, rows)
    assert said == "5 of 7 rows in this window without a place, in the table only: Far, Half, Null, Pole, Text"
    many = [place(f"c{i:02}", None, None) for i in range(20)]
    assert call(page, "map", "m.nowhereText(v[0], v[1])", PLACES, many).endswith("c10, c11, and 8 more")
    assert call(page, "map", "m.nowhereText(v[0], v[1])", PLACES, rows[:1]) == ""
    assert call(page, "map", "m.reachOf(v[0].map, v[1])", PLACES, [*rows, place("S", -3, -60)]) == [
        [-3, -60],
        [46.9, 7.4],
    ]
    assert call(page, "map", "m.reachOf(v[0].map, v[1])", PLACES, many) is None


def test_a_mark_has_the_colour_and_the_shape_of_its_word_and_an_area_as_its_number(page: Page) -> None:
    rows = [place("a", 1, 1, "High", 1), place("b", 1, 2, "Low", 4), place("c", 1, 3, None, 100)]
    marks = call(page, "map", "m.marksOf(v[0], v[1], 100, v[2])", PLACES, rows, THEME)
    assert [m["key"] for m in marks] == ["c", "a", "b"]  # the largest first: none hides another
    assert [(m["shape"], m["color"]) for m in marks] == [
        ("circle", "#888"),
        ("rectRot", "#000001"),
        ("circle", "#000000"),
    ]
    assert [m["radius"] for m in marks] == [20, 4, 4]
    levels = call(page, "map", "[...m.levelsOf(v[0]).values()]", PLACES)
    assert len({level["shape"] for level in levels}) == len({level["slot"] for level in levels}) == 3
    assert [x["count"] for x in call(page, "map", "m.legendOf(v[0], v[1])", PLACES, rows)] == [1, 0, 1]


@pytest.mark.parametrize("shape", ["triangle", "rect", "rectRot", "triangleDown", "pentagon"])
def test_every_shape_has_the_area_of_the_circle_and_stays_within_reach(page: Page, shape: str) -> None:
    corners = call(page, "map", "m.cornersOf(v[0], 100)", shape)
    pairs = zip(corners, corners[1:] + corners[:1], strict=True)
    area = abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in pairs)) / 2
    assert area == pytest.approx(3.14159 * 100**2, rel=1e-3)
    reach = call(page, "map", "m.REACH")
    assert all((x**2 + y**2) ** 0.5 <= 100 * reach for x, y in corners)


def test_sizes_are_of_a_round_number_that_seldom_changes(page: Page) -> None:
    values = [0, 0.3, 1, 1.1, 2, 3, 7, 10, 11, 4999]
    assert call(page, "map", "v[0].map(m.roundUp)", values) == [1, 0.5, 1, 2, 2, 5, 10, 10, 20, 5000]
    assert call(page, "map", "[3, 12].map(x => m.mostOf(v[0], x))", PLACES) == [10, 20]
    assert [s["text"] for s in call(page, "map", "m.sizesOf(v[0], 20)", PLACES)] == ["2", "20 rides"]


def test_windows_lead_from_the_oldest_to_the_newest_past_those_without_places(page: Page) -> None:
    rows = [row(m, "x", 1.0) | {"north": None if m == 3 else 46.0} for m in (5, 4, 3, 1)]
    windows = call(page, "map", "m.windowsWithPlaces(v[0], v[1])", PLACES, rows)
    assert [w["window_start"][14:16] for w in windows] == ["01", "04", "05"]
    starts = [None, "2026-01-01T00:04:00Z", "2026-01-01T00:03:00Z", "2025-01-01T00:00:00Z", "2027-01-01T00:00:00Z"]
    assert call(page, "map", "v[1].map(s => m.indexOf(v[0], s))", windows, starts) == [2, 1, 0, 0, 2]
    assert call(page, "map", "m.indexOf([], null)") == -1
    fresh = [row(6, "x", 1.0), row(5, "x", 2.0)]
    joined = call(page, "map", "m.merged(v[0], v[1], v[2])", rows, "2026-01-01T00:05:00Z", fresh)
    assert [(r["window_start"][14:16], r["fare_avg"]) for r in joined] == [
        ("06", 1),
        ("05", 2),
        ("04", 1),
        ("03", 1),
        ("01", 1),
    ]


def test_a_window_is_told_in_the_viewers_zone_and_in_utc(page: Page) -> None:
    window = {"window_start": "2026-07-01T23:59:00Z", "window_end": "2026-07-02T00:00:00Z"}
    say = "m.spanIn(v[0], 60, v[1])"
    assert call(page, "map", say, "UTC", window) == "2026-07-01 23:59 – 2026-07-02 00:00 UTC"
    assert (
        call(page, "map", say, "Europe/Paris", window)
        == "2026-07-02 01:59 – 02:00 Europe/Paris · 2026-07-01 23:59 – 2026-07-02 00:00 UTC"
    )
    assert call(page, "map", say, "Africa/Abidjan", window) == "2026-07-01 23:59 – 2026-07-02 00:00 UTC"


def test_grains_are_those_that_the_windows_fill(page: Page) -> None:
    texts = lambda seconds: [g["text"] for g in call(page, "map", "m.grainsOf(v[0])", PLACES | {"window_s": seconds})]  # noqa: E731
    assert texts(60) == ["1 minute", "10 minutes", "1 hour", "1 day", "7 days", "30 days"]
    assert texts(2400) == ["40 minutes", "1 day", "7 days", "30 days"]
    assert texts(86400) == ["1 day", "7 days", "30 days"]


def test_lines_stand_at_round_degrees(page: Page) -> None:
    assert call(page, "map", "m.degreesOf(41.79, 41.92, 0.05)") == [41.8, 41.85, 41.9]
    assert call(page, "map", "m.degreesOf(-10, 10, 10)") == [-10, 0, 10]
    assert call(page, "map", "[0.13, 400, 0.0001].map(s => m.stepOf(s, 10))") == [0.02, 45, 0.001]
    assert call(page, "map", "[[41.85, 'lat'], [-87.7, 'lon'], [0, 'lat'], [-3, 'lat'], [7.5, 'lon'], [null, 'lat']].map(([d, a]) => m.degreeText(d, a))") == [
        "41.85° N", "87.7° W", "0°", "3° S", "7.5° E", "–",
    ]  # fmt: skip


def test_the_window_of_a_map_and_its_grain_are_in_the_address(page: Page) -> None:
    address = "/?dataset=traffic&per.cells=1h&at.cells=2026-01-01T00%3A05%3A00Z"
    assert call(page, "url", "m.format(m.parse(v[0].slice(1)))", address) == address
    for nothing in (
        "?dataset=x&at.cells=now-1h",
        "?dataset=x&at.cells=soon",
        "?dataset=x&per.cells=fast",
        "?dataset=x&at.=1",
    ):
        assert call(page, "url", "m.format(m.parse(v[0]))", nothing) == "/?dataset=x"
    assert (
        call(page, "url", "m.format(m.elsewhere(m.parse(v[0].slice(1)), 'dataset', 'traffic'))", address)
        == "/?dataset=traffic"
    )
