"""The page in every state it can be in, over the real API and the ports' twins: see twin.py."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Route

from tests.browser.twin import HOSTILE, Twin, running
from tests.browser.watched import READY, Watched
from tests.services.seed import patches

CHECKOUT = Path(__file__).parents[2]
LAND = "/?dataset=landcover"
SERIES = "realtime_ndvi_by_class"
PAGES = ("/", LAND, "/?dataset=sky", "/?page=pipeline")


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    with running(tmp_path_factory.mktemp("twin")) as found:
        yield found


@pytest.fixture
def watched(browser: Browser, twin: Twin) -> Iterator[Watched]:
    context = browser.new_context(viewport={"width": 1300, "height": 900})
    yield Watched(context.new_page(), twin.url)
    context.close()


# ---- every page ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1300])
def test_every_page_fits_in_both_themes_with_nothing_wrong(
    browser: Browser, twin: Twin, path: str, theme: Any, width: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 740}, color_scheme=theme)
    watched = Watched(context.new_page(), twin.url)
    page = watched.open(path)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(245, 246, 248)", "dark": "rgb(14, 18, 23)"}[theme]
    assert watched.wrong == []
    context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", [*PAGES, "/docs"])
def test_axe_finds_nothing_on_any_page(browser: Browser, twin: Twin, path: str, theme: Any) -> None:
    context = browser.new_context(viewport={"width": 1300, "height": 900}, color_scheme=theme)
    watched = Watched(context.new_page(), twin.url)
    page = watched.open(path, READY if path != "/docs" else "details summary")
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert found.response["passes"], "axe looked at nothing"
    context.close()


def test_words_of_a_dataset_stay_words(watched: Watched) -> None:
    page = watched.open("/?dataset=sky")
    assert page.locator("h2").inner_text() == f"Weather {HOSTILE}"
    assert HOSTILE in page.locator(".keys").inner_text()
    assert HOSTILE in {row[1] for row in watched.shown("by_order")}
    assert page.locator("#sources").inner_text().count("nobody <b>at all</b>, example.org/terms") == 1
    assert page.locator("main img, main script, #sources b").count() == 0
    assert page.evaluate("window.hurt") is None
    assert watched.wrong == []


def test_a_list_is_read_in_the_order_of_its_ranks_without_a_picture(watched: Watched, twin: Twin) -> None:
    page = watched.open("/?dataset=sky")
    rows = twin.sky.naive("hottest")
    panel = page.locator('.panel[data-name="hottest"]')
    assert (
        panel.locator("canvas").is_hidden()
        and panel.locator(".png").is_hidden()
        and panel.locator("table").is_visible()
    )
    titles = panel.locator("thead th").all_inner_texts()
    assert titles == ["rank", "order", "station", "last_said", "temperature", "n"]
    shown = watched.shown("hottest")
    assert [row[0] for row in shown] == [1, 2, 1, 2] and len(rows) == 6
    # each list has the two stations whose newest temperature is the highest
    for order in (HOSTILE, "plain"):
        newest = {key[1]: state.measures[0].value for (_, key), state in rows.items() if key[0] == order}
        best = sorted(newest, key=lambda station: -newest[station])[:2]
        listed = [row for row in shown if row[1] == order]
        assert [row[2] for row in listed] == best and {row[3] for row in listed} == {order}
        assert [row[4] for row in listed] == [newest[station] / 10 for station in best]
    assert panel.locator("caption").inner_text().startswith("the greatest temperature first, 2 at most per order")
    assert watched.wrong == []


def test_the_footer_says_where_the_data_come_from(watched: Watched) -> None:
    sources = watched.open("/").locator("#sources")
    assert "Statlog (Landsat Satellite)" in sources.inner_text()
    assert "https://creativecommons.org/licenses/by/4.0/" in sources.locator("a").evaluate_all(
        "a => a.map(x => x.href)"
    )


def test_the_overview_leads_to_each_dataset(watched: Watched) -> None:
    page = watched.open("/")
    assert page.locator(".card .pill").all_inner_texts() == ["✓ complete", "✓ complete"]
    page.locator(".card h3 a").first.click()
    watched.until_address(r"\?dataset=landcover$")
    page.wait_for_selector(".panel[data-state=ready]")
    page.go_back()
    page.wait_for_selector(".card")
    assert watched.wrong == []


# ---- the address ---------------------------------------------------------------------------------------------------


def test_what_is_looked_at_is_in_the_address_and_comes_back_from_it(watched: Watched) -> None:
    page = watched.open(LAND)
    page.locator(".key", has_text="red soil").click()
    watched.until_address(r"key\.class_name=red\+soil")
    page.select_option("#refresh", "30")
    page.select_option("#theme", "dark")
    page.locator(".panel[data-name=spectral_by_class] .choices button", has_text="nir1").click()
    page.locator(f".panel[data-name={SERIES}] .open").click()
    watched.until_address("panel=")
    address = page.evaluate("location.pathname + location.search")

    def seen() -> list[Any]:
        page.wait_for_selector(f".panel[data-name={SERIES}][data-state=ready]")
        return [
            page.evaluate("document.documentElement.dataset.theme"),
            page.locator("#refresh").input_value(),
            page.locator(".chip").all_inner_texts(),
            page.locator(".panel:visible").evaluate_all("p => p.map(x => x.dataset.name)"),
            sorted(watched.drawn(SERIES)["series"]),
        ]

    expected = ["dark", "30", ["class_name = red soil ×"], [SERIES], ["lower edge", "mean ± stddev", "red soil"]]
    page.wait_for_function(
        f"() => Chart.getChart(document.querySelector('[data-name={SERIES}] canvas'))?.data.datasets.length === 3"
    )
    assert seen() == expected
    watched.open(address)
    assert seen() == expected
    page.keyboard.press("Escape")
    page.wait_for_selector(".panel[data-name=spectral_by_class]")
    assert page.locator("[data-name=spectral_by_class] .choices [aria-pressed=true]").inner_text() == "nir1"
    page.go_back()
    page.wait_for_selector(".panel[data-name=spectral_by_class]", state="hidden")
    assert watched.wrong == []


def test_a_drag_over_a_chart_zooms_every_panel_with_times(watched: Watched) -> None:
    page = watched.open(LAND)
    before = len(watched.shown("anomaly_alerts"))
    box = page.locator(f".panel[data-name={SERIES}] canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 120)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 160, steps=4)
    page.mouse.up()
    watched.until_address(r"from=2026-01-01T0.*&to=2026-01-01T0")
    page.wait_for_function(f"() => document.querySelectorAll('[data-name=anomaly_alerts] tbody tr').length < {before}")
    page.get_by_role("button", name="Show everything").first.click()
    watched.until_address(r"\?dataset=landcover$")
    assert watched.wrong == []


def test_an_address_of_nothing_says_what_there_is(watched: Watched) -> None:
    page = watched.open("/?dataset=nothing")
    assert page.locator("#notice").inner_text() == "There is no dataset “nothing”; there is landcover, sky."


# ---- panels --------------------------------------------------------------------------------------------------------


def test_a_click_on_a_key_filters_everything_and_its_colour_stays(watched: Watched) -> None:
    page = watched.open(LAND)
    color = "() => { const c = Chart.getChart(document.querySelector('[data-name=realtime_ndvi_by_class] canvas')); return c.data.datasets.find(d => d.label === 'grey soil').borderColor; }"
    before = page.evaluate(color)
    page.locator(".key[data-key='grey soil']").click()
    page.wait_for_function(
        "() => [...document.querySelectorAll('[data-name=landcover_aggregates] tbody tr')].length === 1"
    )
    page.wait_for_selector(READY)
    for panel in (SERIES, "landcover_aggregates", "spectral_by_class", "anomaly_alerts"):
        page.wait_for_function(
            "p => [...document.querySelectorAll(`[data-name=${p}] tbody tr`)].every(r => r.textContent.includes('grey soil') && !r.textContent.includes('damp'))",
            arg=panel,
        )
    assert page.evaluate(color) == before
    assert page.locator(".key").count() == 6 and page.locator(".key[aria-pressed=true]").count() == 1
    page.locator(".key[data-key='red soil']").click(modifiers=["Control"])
    page.wait_for_function(
        "() => [...document.querySelectorAll('[data-name=landcover_aggregates] tbody tr')].length === 2"
    )
    page.locator(".chip").first.click()
    page.wait_for_function("() => document.querySelectorAll('.chip').length === 1")
    assert watched.wrong == []


def test_the_tail_is_drawn_apart_and_the_cut_is_marked(watched: Watched) -> None:
    watched.open(LAND)
    assert watched.drawn(SERIES)["marks"] == ["cut"]
    rows = watched.shown(SERIES)
    since = {row[0]: row[-1] for row in rows}
    assert since["2026-01-01 08:10"] and not since["2026-01-01 03:00"]
    late = [row for row in rows if row[0] == "2026-01-01 02:00" and row[-1]]
    assert sum(int(row[-1]) for row in late) == 2  # two that came late, in a window that the generation holds
    assert "1,000 events came since generation 1" in watched.panel(SERIES).locator("footer").inner_text()


def test_the_most_unusual_key_is_named(watched: Watched) -> None:
    watched.open(LAND)
    (first, *_) = watched.shown(f"{SERIES}-now")
    assert watched.panel(f"{SERIES}-now").locator("footer").inner_text().startswith(f"most unusual: {first[0]}, ")


def test_the_numbers_can_be_taken_away(watched: Watched) -> None:
    page = watched.open(LAND)
    panel = watched.panel("landcover_aggregates")
    with page.expect_download() as taken:
        panel.locator(".csv").click()
    assert taken.value.suggested_filename == "landcover_aggregates.csv"
    rows = list(csv.reader(io.StringIO(taken.value.path().read_text("utf-8"))))
    assert rows[0] == ["class_name", "ndvi_avg", "ndvi_stddev", "ndvi_min", "ndvi_max", "n"]
    answered = page.request.get(f"{watched.url}/api/v1/datasets/landcover/views/landcover_aggregates").json()["data"]
    assert [[r[0], *map(float, r[1:])] for r in rows[1:]] == [list(r.values()) for r in answered]
    with page.expect_download() as taken:
        panel.locator(".png").click()
    assert taken.value.path().read_bytes().startswith(b"\x89PNG")
    assert watched.wrong == []


def test_new_events_appear_by_themselves(watched: Watched, twin: Twin) -> None:
    page = watched.open(f"{LAND}&refresh=1")
    known = sum(len(batch) for batch in twin.land.events)
    twin.more(patches(CHECKOUT / "data", known + 10)[known:])
    page.wait_for_selector(f".tiles data[value='{known + 10}']")
    page.wait_for_function(
        "n => [...document.querySelectorAll('[data-name=landcover_aggregates] tbody tr td:last-child data')].reduce((s, d) => s + Number(d.value), 0) === n",
        arg=known + 10,
    )
    assert page.locator("#as-of").inner_text().startswith(f"as of seq {twin.land.kept.head().seq}, ")
    assert watched.wrong == []


def test_an_alert_is_acknowledged_and_taken_back(watched: Watched) -> None:
    page = watched.open(LAND)
    panel = watched.panel("anomaly_alerts")
    panel.get_by_role("button", name="acknowledge").first.click()
    page.locator("#acknowledge input").fill("clouds <b>over</b> the scene")
    page.locator("#acknowledge").get_by_role("button", name="Say so").click()
    panel.get_by_role("cell", name="✓ clouds <b>over</b> the scene").wait_for()
    hollow = "() => Chart.getChart(document.querySelector('[data-name=anomaly_alerts] canvas')).data.datasets.flatMap(d => d.pointBackgroundColor).filter(c => c === '#ffffff').length"
    assert page.evaluate(hollow) == 1
    panel.get_by_role("button", name="take back").click()
    page.keyboard.press("Enter")  # the note has the focus
    panel.get_by_role("cell", name="✓").wait_for(state="detached")
    assert page.evaluate(hollow) == 0
    assert watched.wrong == []


def test_an_acknowledgement_that_was_not_taken_says_why(watched: Watched) -> None:
    refused = {"status": 503, "title": "Service Unavailable", "detail": "cassandra: no answer", "next": "braid up"}
    page = watched.open(LAND)
    page.route(
        "**/acknowledgement", lambda r: r.fulfill(status=503, content_type="application/problem+json", json=refused)
    )
    panel = watched.panel("anomaly_alerts")
    panel.get_by_role("button", name="acknowledge").first.click()
    page.locator("#acknowledge").get_by_role("button", name="Say so").click()
    page.wait_for_selector("#acknowledge .note")
    assert page.locator("#acknowledge .note").inner_text() == "cassandra: no answer. braid up"
    page.keyboard.press("Escape")
    assert page.locator("#acknowledge").is_hidden()


def test_what_is_shown_can_be_checked_by_a_command(watched: Watched) -> None:
    page = watched.open(LAND)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    panel = watched.panel("landcover_aggregates")
    panel.locator("summary").click()
    panel.locator(".copy").click()
    panel.get_by_text("Copied").wait_for()
    receipt = page.request.get(f"{watched.url}/api/v1/datasets/landcover/views/landcover_aggregates?limit=3000").json()
    assert page.evaluate("navigator.clipboard.readText()") == f"braid verify {receipt['meta']['receipt']}"


# ---- states --------------------------------------------------------------------------------------------------------


def test_without_an_answer_the_numbers_stay_and_say_so_and_the_page_asks_less_often(watched: Watched) -> None:
    page = watched.open(f"{LAND}&refresh=1")
    before = watched.shown("landcover_aggregates")
    page.route("**/api/**", lambda route: route.abort())
    page.wait_for_selector(".live[data-state=error]")
    panel = watched.panel("landcover_aggregates")
    assert panel.get_attribute("data-state") == "stale"
    assert panel.locator(".stale").inner_text() == "not refreshed"
    assert "the API cannot be reached" in panel.locator(".note").inner_text()
    assert "braid up" in panel.locator(".note code").inner_text()
    assert watched.shown("landcover_aggregates") == before
    assert "trying again in" in page.locator("#live-text").inner_text()
    page.unroute("**/api/**")
    page.locator("#now").click()
    page.wait_for_selector(READY)
    assert panel.get_attribute("data-state") == "ready" and panel.locator(".note").is_hidden()


def test_one_panel_s_error_stays_on_that_panel(watched: Watched) -> None:
    problem = {
        "title": "Service Unavailable",
        "status": 503,
        "detail": "the answer is being loaded",
        "next": "braid status",
    }

    def refuse(route: Route) -> None:
        route.fulfill(status=503, content_type="application/problem+json", body=json.dumps(problem))

    watched.page.route("**/views/spectral_by_class*", refuse)
    page = watched.open(LAND, ".live[data-state=error]")
    panel = watched.panel("spectral_by_class")
    assert panel.get_attribute("data-state") == "error"
    assert panel.locator(".note").inner_text() == "the answer is being loaded. braid status"
    assert watched.panel("landcover_aggregates").get_attribute("data-state") == "ready"
    assert page.locator(".covers").get_attribute("data-state") == "complete"


def test_while_an_answer_is_awaited_there_is_a_skeleton(watched: Watched) -> None:
    held: list[Route] = []
    watched.page.route("**/views/spectral_by_class*", lambda route: held.append(route))  # noqa: PLW0108 - playwright marks its handlers, and a bound method of a list cannot be marked
    watched.open(LAND, ".panel[data-name=landcover_aggregates][data-state=ready]")
    panel = watched.panel("spectral_by_class")
    assert panel.get_attribute("data-state") == "loading" and panel.locator(".skeleton").is_visible()
    for route in held:
        route.continue_()
    watched.page.wait_for_selector(".panel[data-name=spectral_by_class][data-state=ready]")
    assert panel.locator(".skeleton").is_hidden()


def emptied(route: Route) -> None:
    answer = route.fetch()
    body = answer.json()
    if "/status" in route.request.url:
        for status in body["datasets"]:
            status["counts"] = dict.fromkeys(status["counts"], 0)
    elif "/views/" in route.request.url or "/alerts" in route.request.url:
        body["data"], body["meta"]["rows"], body["meta"]["of_rows"] = [], 0, 0
    route.fulfill(response=answer, json=body)


def test_an_empty_panel_says_which_command_fills_it(watched: Watched) -> None:
    watched.page.route("**/api/v1/**", emptied)
    watched.open(LAND)
    panel = watched.panel(SERIES)
    assert panel.get_attribute("data-state") == "empty"
    assert panel.locator(".note code").inner_text() == "braid produce landcover"
    assert panel.locator(".csv").is_disabled()


def test_an_empty_range_leads_back_to_everything(watched: Watched) -> None:
    page = watched.open(f"{LAND}&from=2027-01-01T00:00:00Z&to=2027-01-02T00:00:00Z")
    panel = watched.panel(SERIES)
    assert panel.get_attribute("data-state") == "empty"
    panel.get_by_role("button", name="Show everything").click()
    page.wait_for_selector(f".panel[data-name={SERIES}][data-state=ready]")
    assert watched.wrong == []


def broken(route: Route) -> None:
    answer = route.fetch()
    body = answer.json()
    missing = [{"what": "cassandra", "reason": "no answer since 2026-01-01T00:00:00Z: refused"}]
    if "/status" in route.request.url:
        for status in body["datasets"]:
            status["serving"] |= {"complete": False, "missing": missing}
            status["problems"] = [f"{m['what']}: {m['reason']}" for m in missing]
    elif "/views/" in route.request.url:
        body["meta"] |= {"complete": False, "missing": missing}
    route.fulfill(response=answer, json=body)


def test_an_incomplete_answer_is_named_on_its_panel_and_on_top(watched: Watched) -> None:
    watched.page.route("**/api/v1/**", broken)
    page = watched.open(LAND)
    assert page.locator(".covers").get_attribute("data-state") == "incomplete"
    assert "no answer since 2026-01-01T00:00:00Z: refused" in page.locator(".missing").inner_text()
    assert watched.panel(SERIES).locator(".partial").is_visible()


def test_the_pipeline_says_what_broke_and_what_to_do(watched: Watched) -> None:
    watched.page.route("**/api/v1/**", broken)
    page = watched.open("/?page=pipeline")
    line = page.locator(".line[data-dataset=landcover]")
    assert line.get_attribute("data-state") == "bad"
    assert line.locator("[data-stage=store]").get_attribute("data-state") == "bad"
    told = line.locator(".wrong li").all_inner_texts()
    assert (
        "Cassandra: no answer since 2026-01-01T00:00:00Z: refused. Answers stay as they were and say so. Do: braid up"
        in told
    )


def test_the_pipeline_accounts_for_every_offset(watched: Watched, twin: Twin) -> None:
    page = watched.open("/?page=pipeline")
    line = page.locator(".line[data-dataset=landcover]")
    assert line.locator(".sum").get_attribute("data-adds") == "true"
    end = sum(len(batch) for batch in twin.land.events)
    assert line.locator("td[data-column=covered]").inner_text() == f"{end:,}"
    assert line.locator(".stage").count() == 6
    assert watched.wrong == []


def test_the_pipeline_lists_dead_letters_by_reason_with_a_sample(watched: Watched) -> None:
    page = watched.open("/?page=pipeline")
    cells = page.locator(".line[data-dataset=landcover] .dead tbody td").all_inner_texts()
    assert cells == [f"$.class_name: {HOSTILE}", "1", "rides-log:0:7", HOSTILE]
    assert page.locator("main img").count() == 0 and page.evaluate("window.hurt") is None
    assert watched.wrong == []


def test_a_hidden_page_asks_nothing(watched: Watched) -> None:
    page = watched.open(f"{LAND}&refresh=1")
    page.evaluate(
        "Object.defineProperty(document, 'hidden', {value: true, configurable: true}); document.dispatchEvent(new Event('visibilitychange'))"
    )
    page.wait_for_function("() => document.getElementById('live-text').textContent.startsWith('Paused')")
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url))
    page.wait_for_timeout(1800)  # longer than the pace: nothing may come
    assert asked == []
    page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_selector(READY)


# ---- without a mouse, without eyes ---------------------------------------------------------------------------------


def test_everything_can_be_reached_and_used_with_the_keyboard(watched: Watched) -> None:
    page = watched.open(LAND)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the data"
    page.locator(".key[data-key='red soil']").focus()
    page.keyboard.press("Enter")
    watched.until_address("red\\+soil")
    page.locator(f"[data-name={SERIES}] summary").focus()
    page.keyboard.press("Space")
    assert page.locator(f"[data-name={SERIES}] table").is_visible()
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.className"))
    assert {"plain csv", "plain png", "plain open"} <= reached
    assert page.evaluate("[...document.querySelectorAll('button, select, input')].every(e => e.tabIndex === 0)")


# WCAG 2.2: the relative luminance of a text's colour against the nearest ground that is not transparent
CONTRASTS = """() => {
    const light = (c) => { const [r, g, b] = c.map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const color = (text) => text.match(/[0-9.]+/g).map(Number);
    const ground = (e) => { for (; e; e = e.parentElement) { const c = color(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
    const texts = [...document.querySelectorAll("body *")].filter(e => e.checkVisibility() && !e.disabled && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()));
    return texts.map(e => {
        const [a, b] = [light(color(getComputedStyle(e).color).slice(0, 3)), light(ground(e))].sort((x, y) => y - x);
        return [(a + 0.05) / (b + 0.05), e.tagName + "." + e.className, e.textContent.trim().slice(0, 40)];
    }).filter(([ratio]) => ratio < 4.5);
}"""


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(watched: Watched, path: str, theme: str) -> None:
    page = watched.open(f"{path}{'&' if '?' in path else '?'}theme={theme}")
    for details in page.locator("details:visible").all():
        details.evaluate("d => d.open = true")
    assert page.evaluate(CONTRASTS) == []


def test_every_chart_table_and_control_has_a_name(watched: Watched) -> None:
    page = watched.open(LAND)
    unnamed = page.evaluate(
        """() => [
            ...[...document.querySelectorAll("canvas")].filter(c => c.getAttribute("role") !== "img" || !c.ariaLabel),
            ...[...document.querySelectorAll(".panel table")].filter(t => !t.caption?.textContent || !t.querySelector("th[scope=col]")),
            ...[...document.querySelectorAll("button")].filter(b => !(b.ariaLabel || b.textContent.trim())),
            ...[...document.querySelectorAll("select, input")].filter(i => !i.labels.length),
            ...[...document.querySelectorAll(".panel")].filter(p => !document.getElementById(p.getAttribute("aria-labelledby"))),
        ].map(e => e.outerHTML.slice(0, 200))"""
    )
    assert unnamed == []
    assert page.locator(".panel canvas").count() == 5
