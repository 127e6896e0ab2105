"""The dashboard in a real browser, over the real API and the real stores: what it shows is what the API says."""

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from braid.declaration_reader import parse
from braid.settings import Settings
from tests.browser.watched import Watched
from tests.services.api import CHECKOUT, Api, Wire, landcover_as, running_api
from tests.services.seed import Seeded, patches

SECOND = """
dataset: {name}
title: Weather <img src=x onerror="window.hurt = true">
topic: {name}-reports
event_id: [station, at]
event_time: {{field: at, zone: UTC}}
fields:
  station: {{type: string}}
  at: {{type: time}}
  region: {{type: string}}
  temperature: {{type: decimal, scale: 1, unit: °C}}
views:
  by_region:
    title: Temperature per region
    by: [region, station]
    window: 1 minute
    measures: {{temperature: {{of: temperature, stats: [mean, min, max]}}}}
"""


class Served:
    """An API, and the dataset it serves."""

    def __init__(self, api: Api, seeded: Seeded, cassandra: Wire) -> None:
        self.seeded = seeded
        self.cassandra = cassandra
        self.url = api.page
        self.until = api.until
        self.get = api.get
        self.page = f"/?dataset={seeded.declaration.dataset}"
        self.base = f"/api/v1/datasets/{seeded.declaration.dataset}"


@pytest.fixture(scope="module")
def served(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Yield an API over land cover under another name, with a generation, a tail and alerts, and a second dataset."""
    first, second = f"page{os.getpid()}", f"sky{os.getpid()}"
    text = landcover_as(first)
    seeded = Seeded(stack, parse(text, first))
    wire = Wire(stack.ports.cassandra)
    declared = {first: text, second: SECOND.format(name=second)}
    try:
        seed(seeded)
        with running_api(stack, tmp_path_factory.mktemp("page"), declared, cassandra=wire.port) as api:
            api.complete_at(first, 30)
            yield Served(api, seeded, wire)
    finally:
        wire.close()
        seeded.close()


def seed(seeded: Seeded) -> None:
    """Write 30 micro-batches, the first 20 of them in generation 1."""
    seeded.genesis()
    events = patches(CHECKOUT / "data", 3000)
    for start in range(0, 3000, 100):
        batch = events[start : start + 100]
        seeded.commit(batch, [seeded.alert(batch[50], start + 50)])
        if start == 1900:
            seeded.publish()


@pytest.fixture
def watched(browser: Browser, served: Served) -> Iterator[Watched]:
    context = browser.new_context(viewport={"width": 1300, "height": 900})
    yield Watched(context.new_page(), served.url)
    context.close()


def test_every_number_on_the_page_is_the_api_s(watched: Watched, served: Served) -> None:
    watched.open(served.page)
    for view in served.seeded.declaration.views:
        url = f"{served.base}/views/{view.name}"
        rows = served.get(f"{url}?order={'desc' if view.window_us else 'asc'}")["data"]
        speed = served.get(f"{url}?layer=speed")["data"]
        since = {(row.get("window_start"), *(row[c] for c in view.by)): row["n"] for row in speed}
        expected = []
        for row in rows:
            cells = [row[name] for name in (*view.by, *(name for name, _, _ in view.finished), "n")]
            if view.window_us:
                fresh = since.get((row["window_start"], *(row[c] for c in view.by)), 0)
                cells = [row["window_start"][:16].replace("T", " "), *cells, fresh]
            expected.append([c if c is not None else "–" for c in cells])
        assert len(rows) > 5
        assert expected == watched.shown(view.name)
    alerts = served.get(f"{served.base}/alerts?limit=500")["data"]
    assert [row[:4] for row in watched.shown("anomaly_alerts")] == [
        [a["timestamp"][:19].replace("T", " "), a["class_name"], a["ndvi_mean"], a["z"]] for a in alerts
    ]
    assert watched.wrong == []


def test_the_charts_draw_those_numbers(watched: Watched, served: Served) -> None:
    page = watched.open(served.page)
    rows = served.get(f"{served.base}/views/realtime_ndvi_by_class")["data"]
    assert watched.drawn("realtime_ndvi_by_class")["series"] == {
        name: [r["ndvi_avg"] for r in rows if r["class_name"] == name]
        for name in sorted({r["class_name"] for r in rows})
    }
    assert watched.drawn("realtime_ndvi_by_class")["marks"] == ["cut"]
    totals = served.get(f"{served.base}/views/landcover_aggregates")["data"]
    spread = watched.drawn("landcover_aggregates")["series"]
    assert spread["mean"] == [r["ndvi_avg"] for r in totals]
    assert spread["min to max"] == [[r["ndvi_min"], r["ndvi_max"]] for r in totals]
    page.get_by_role("button", name="nir1").click()
    watched.until_address("measure.spectral_by_class=nir1")
    page.wait_for_selector("[data-name=spectral_by_class] [aria-pressed=true]:text('nir1')")
    bands = served.get(f"{served.base}/views/spectral_by_class")["data"]
    assert watched.drawn("spectral_by_class")["series"]["mean"] == [r["nir1_mean"] for r in bands]
    assert watched.wrong == []


def test_a_range_is_compared_with_history_by_exact_numbers(watched: Watched, served: Served) -> None:
    bounds = "from=2026-01-01T01:00:00Z&to=2026-01-01T04:00:00Z"
    watched.open(f"{served.page}&{bounds}")
    now = served.get(f"{served.base}/views/realtime_ndvi_by_class?window=all&{bounds}")["data"]
    past = {r["class_name"]: r for r in served.get(f"{served.base}/views/landcover_aggregates")["data"]}
    expected = {
        r["class_name"]: [(r["ndvi_avg"] - p["ndvi_avg"]) / p["ndvi_stddev"], r["ndvi_avg"], r["n"]]
        for r in now
        if (p := past[r["class_name"]])
    }
    assert {row[0]: row[1:4] for row in watched.shown("realtime_ndvi_by_class-now")} == expected
    assert watched.wrong == []


def test_what_the_answers_cover_is_told(watched: Watched, served: Served) -> None:
    page = watched.open(served.page)
    page.wait_for_selector(".covers[data-state=complete]")  # not so while a store is slow to answer
    section = page.locator(".dataset")
    assert section.locator(".pill").inner_text() == "✓ complete"
    status = next(
        s for s in served.get("/api/v1/status")["datasets"] if s["dataset"] == served.seeded.declaration.dataset
    )
    as_of = status["serving"]["as_of"]
    records = f"{sum(as_of['offsets'].values()):,}"
    assert section.locator(".sentence").inner_text() == (
        f"Every number covers the first {records} records of the log, to the last one: "
        f"generation 1 up to seq 20, and {as_of['seq'] - 20} micro-batches since."
    )
    tiles = dict(
        section.locator(".tiles > div").evaluate_all(
            "d => d.map(x => [x.children[0].textContent, x.querySelector('data')?.value])"
        )
    )
    assert tiles["Generation"] == "1" and tiles["Head"] == str(as_of["seq"])
    assert tiles["Events counted"] == str(len(served.seeded.events))


def test_a_second_dataset_shows_up_by_itself_and_its_words_stay_words(watched: Watched) -> None:
    card = watched.open("/").locator(".card").nth(1)
    assert card.locator("h3").inner_text() == 'Weather <img src=x onerror="window.hurt = true">'
    assert watched.page.evaluate("window.hurt") is None
    assert card.get_attribute("data-state") == "waiting"
    assert "braid up" in card.locator(".sentence").inner_text()
    assert watched.wrong == []


def test_a_new_micro_batch_appears_without_reloading(watched: Watched, served: Served) -> None:
    page = watched.open(served.page)
    known = len(served.seeded.events)
    served.seeded.commit(patches(CHECKOUT / "data", known + 10)[known:])
    page.wait_for_selector(f".tiles data[value='{known + 10}']")
    page.wait_for_function(
        "n => [...document.querySelectorAll('[data-name=landcover_aggregates] tbody tr td:last-child data')]"
        ".reduce((s, d) => s + Number(d.value), 0) === n",
        arg=known + 10,
    )
    assert watched.wrong == []


def test_the_pipeline_of_the_real_parts(watched: Watched, served: Served) -> None:
    page = watched.open("/?page=pipeline")
    line = page.locator(f".line[data-dataset={served.seeded.declaration.dataset}]")
    for part in ("topic", "store", "hive", "answers"):
        assert line.locator(f"[data-stage={part}]").get_attribute("data-state") == "ok"
    assert line.locator(".sum").get_attribute("data-adds") == "true"
    assert watched.wrong == []


def test_a_dead_letter_shows_up_with_its_reason_and_the_account_still_adds_up(watched: Watched, served: Served) -> None:
    served.seeded.commit([], dead={"$.ndvi_mean: missing": b'{"image_id": "x"}'})
    page = watched.open("/?page=pipeline")
    line = page.locator(f".line[data-dataset={served.seeded.declaration.dataset}]")
    cells = line.locator(".dead tbody td")
    cells.first.wait_for()
    end = sum(p["head"] for p in served.get("/api/v1/status")["datasets"][0]["partitions"])
    topic = served.seeded.topic
    assert cells.all_inner_texts() == ["$.ndvi_mean: missing", "1", f"{topic}:0:{end - 1}", '{"image_id": "x"}']
    assert line.locator(".sum").get_attribute("data-adds") == "true"
    assert "1 dead letters" in line.locator(".sum").inner_text()
    assert watched.wrong == []


def test_without_cassandra_the_page_says_so_keeps_its_numbers_and_recovers(watched: Watched, served: Served) -> None:
    page = watched.open(f"{served.page}&refresh=1")
    before = watched.shown("landcover_aggregates")
    served.cassandra.cut()
    page.wait_for_selector(".covers[data-state=incomplete]")
    assert "cassandra: no answer since" in page.locator(".missing").inner_text()
    page.wait_for_selector(".panel[data-name=landcover_aggregates] .partial:visible")
    assert watched.shown("landcover_aggregates") == before
    served.cassandra.mend()
    page.wait_for_selector(".covers[data-state=complete]")
    known = len(served.seeded.events)
    served.seeded.commit(patches(CHECKOUT / "data", known + 10)[known:])
    page.wait_for_selector(f".tiles data[value='{known + 10}']")
    assert watched.wrong == []
