"""The dashboard in a real browser, over the real API and the real stores: what it shows is what the API says."""

import os
from collections.abc import Iterator
from shutil import which

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from braid.adapters.environment import install_command
from braid.declaration import parse
from braid.settings import Settings
from tests.services.api import CHECKOUT, Api, landcover_as, running_api
from tests.services.seed import Seeded, patches

PATIENCE_MS = 20_000
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

    def __init__(self, api: Api, seeded: Seeded) -> None:
        self.seeded = seeded
        self.url = api.page
        self.get = api.get
        self.base = f"/api/v1/datasets/{seeded.declaration.dataset}"


@pytest.fixture(scope="module")
def served(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Yield an API over land cover under another name, with a generation, a tail and alerts, and a second dataset."""
    first, second = f"page{os.getpid()}", f"sky{os.getpid()}"
    text = landcover_as(first)
    seeded = Seeded(stack, parse(text, first))
    try:
        seed(seeded)
        with running_api(
            stack, tmp_path_factory.mktemp("page"), {first: text, second: SECOND.format(name=second)}
        ) as api:
            api.complete_at(first, 30)
            yield Served(api, seeded)
    finally:
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Yield a headless Chromium."""
    found = which("chromium") or which("chromium-browser") or which("google-chrome")
    if found is None:
        raise RuntimeError(f"Chromium: expected it on PATH, got none; install it: {install_command('chromium')}")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield running
        running.close()


class Watched:
    """A page, and everything about it that must not happen."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.wrong: list[str] = []
        page.on(
            "console", lambda m: self.wrong.append(f"console: {m.text}") if m.type in {"error", "warning"} else None
        )
        page.on("pageerror", lambda e: self.wrong.append(f"error: {e}"))
        page.on(
            "request",
            lambda r: self.wrong.append(f"outside: {r.url}") if not r.url.startswith((url, "data:")) else None,
        )
        page.on("response", lambda r: self.wrong.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
        page.add_init_script(
            "document.addEventListener('securitypolicyviolation', (e) => console.error('CSP ' + e.violatedDirective))"
        )

    def open(self, url: str) -> Page:
        self.page.goto(url)
        self.page.wait_for_selector(".live[data-state=ready]", timeout=PATIENCE_MS)
        return self.page


@pytest.fixture
def watched(browser: Browser, served: Served) -> Iterator[Watched]:
    context = browser.new_context(viewport={"width": 1300, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    yield Watched(context.new_page(), served.url)
    context.close()


def shown(page: Page, panel: str) -> list[list[str | float]]:
    """Return the rows of a panel's table: exact numbers where there are numbers, texts otherwise."""
    return page.locator(f".panel[data-name={panel}] tbody tr").evaluate_all(
        """rows => rows.map(row => [...row.cells].map(cell => {
            const data = cell.querySelector("data");
            return data ? Number(data.value) : cell.textContent;
        }))"""
    )


def test_every_number_on_the_page_is_the_api_s(watched: Watched, served: Served) -> None:
    page = watched.open(served.url)
    for view in served.seeded.declaration.views:
        rows = served.get(f"{served.base}/views/{view.name}?order={'desc' if view.window_us else 'asc'}")["data"]
        columns = [*view.by, *(name for name, _, _ in view.finished), "n"]
        expected = [
            [*([row["window_start"][:16].replace("T", " ")] if view.window_us else []), *(row[c] for c in columns)]
            for row in rows
        ]
        assert len(rows) > 5
        assert [[c if c is not None else "–" for c in row] for row in expected] == shown(page, view.name)
    alerts = served.get(f"{served.base}/alerts?limit=25")["data"]
    table = shown(page, "anomaly_alerts")
    assert [row[:4] for row in table] == [
        [a["timestamp"][:19].replace("T", " "), a["class_name"], a["ndvi_mean"], a["z"]] for a in alerts
    ]
    assert watched.wrong == []


def test_the_charts_draw_those_numbers(watched: Watched, served: Served) -> None:
    page = watched.open(served.url)
    drawn = page.evaluate(
        """() => [...document.querySelectorAll(".panel canvas")].map(c => Chart.getChart(c)).filter(Boolean).map(c => ({
            type: c.config.type,
            series: Object.fromEntries(c.data.datasets.map(d => [d.label, d.data.map(p => p?.y ?? p)])),
        }))"""
    )
    series, spread, _ = drawn
    rows = served.get(f"{served.base}/views/realtime_ndvi_by_class")["data"]
    assert series["series"] == {
        name: [r["ndvi_avg"] for r in rows if r["class_name"] == name]
        for name in sorted({r["class_name"] for r in rows})
    }
    totals = served.get(f"{served.base}/views/landcover_aggregates")["data"]
    assert spread["series"]["mean"] == [r["ndvi_avg"] for r in totals]
    assert spread["series"]["min to max"] == [[r["ndvi_min"], r["ndvi_max"]] for r in totals]
    page.get_by_role("button", name="nir1").click()
    bands = served.get(f"{served.base}/views/spectral_by_class")["data"]
    means = page.evaluate("() => Chart.getChart(document.querySelectorAll('.panel canvas')[2]).data.datasets[0].data")
    assert means == [r["nir1_mean"] for r in bands]
    assert watched.wrong == []


def test_what_the_answers_cover_is_told(watched: Watched, served: Served) -> None:
    page = watched.open(served.url)
    section = page.locator(".dataset").first
    assert section.locator(".pill").inner_text() == "✓ complete"
    as_of = served.get("/api/v1/status")["datasets"][0]["serving"]["as_of"]
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


def test_a_second_dataset_shows_up_by_itself_and_its_words_stay_words(watched: Watched, served: Served) -> None:
    page = watched.open(served.url)
    section = page.locator(".dataset").nth(1)
    assert section.locator("h2").inner_text() == 'Weather <img src=x onerror="window.hurt = true">'
    assert page.evaluate("window.hurt") is None
    assert section.locator(".covers").get_attribute("data-state") == "waiting"
    assert "braid up" in section.locator(".sentence").inner_text()
    assert watched.wrong == []


def test_a_new_micro_batch_appears_without_reloading(watched: Watched, served: Served) -> None:
    page = watched.open(served.url)
    known = len(served.seeded.events)
    fresh = patches(CHECKOUT / "data", known + 10)[known:]
    served.seeded.commit(fresh)
    page.wait_for_selector(f".tiles data[value='{known + 10}']")
    page.wait_for_function(
        "() => document.querySelector('.panel[data-name=realtime_ndvi_by_class]').dataset.state === 'ready'"
    )
    page.wait_for_timeout(300)
    assert sum(row[-1] for row in shown(page, "landcover_aggregates")) == known + 10
    assert watched.wrong == []


def test_when_the_api_cannot_be_reached_the_numbers_stay_and_say_so(watched: Watched, served: Served) -> None:
    page = watched.open(served.url)
    before = shown(page, "landcover_aggregates")
    page.route("**/api/**", lambda route: route.abort())
    page.wait_for_selector(".live[data-state=error]")
    panel = page.locator(".panel[data-name=landcover_aggregates]")
    assert panel.get_attribute("data-state") == "stale"
    assert panel.locator(".stale").inner_text() == "not refreshed"
    assert "the API cannot be reached" in panel.locator(".note").inner_text()
    assert shown(page, "landcover_aggregates") == before
    page.unroute("**/api/**")
    page.wait_for_selector(".live[data-state=ready]")
    assert panel.get_attribute("data-state") == "ready" and panel.locator(".note").is_hidden()


def test_a_dataset_without_events_says_which_command_sends_some(watched: Watched, served: Served) -> None:
    empty = {"data": [], "meta": {"rows": 0, "of_rows": 0, "digest": "0" * 64}}
    watched.page.route("**/views/**", lambda route: route.fulfill(json=empty))
    page = watched.open(served.url)
    panel = page.locator(".panel[data-name=realtime_ndvi_by_class]")
    assert panel.get_attribute("data-state") == "empty"
    assert panel.locator(".note code").inner_text() == f"braid produce {served.seeded.declaration.dataset}"


def test_the_page_fits_a_phone(browser: Browser, served: Served) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, color_scheme="dark")
    page = Watched(context.new_page(), served.url).open(served.url)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    context.close()


def test_every_table_and_chart_has_a_name_for_those_who_do_not_see_it(watched: Watched, served: Served) -> None:
    page = watched.open(served.url)
    names_of = page.evaluate(
        """() => [...document.querySelector(".dataset").querySelectorAll(".panel:not([data-kind=alerts])")].map(p => [
            p.querySelector("canvas").ariaLabel, p.querySelector("caption").textContent, p.querySelector("canvas").getAttribute("role")])"""
    )
    assert len(names_of) == 3
    assert all(label and caption and role == "img" for label, caption, role in names_of)
