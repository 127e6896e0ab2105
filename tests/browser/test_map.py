"""The map over the real API and the ports' twins: what is drawn at a window is what the API answers of that window."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, Route

from tests.browser.places import BARE, CELLS, NOWHERE, WINDOWS, city, traffic, trip, trips
from tests.browser.test_page import CONTRASTS, READY
from tests.browser.twin import served
from tests.browser.watched import Watched
from tests.unit.serving_world import World, service_of

PANEL = "cell_traffic-map"
PAGE = f"/?dataset=traffic&panel={PANEL}&refresh=0"
VIEW = "/api/v1/datasets/traffic/views/cell_traffic"
COLORS = {"High": "#c4500a", "Medium": "#a87000", "Low": "#0072b2"}  # of the light theme
SHAPES = {"High": "rectRot", "Medium": "triangle", "Low": "circle"}
# what Leaflet holds, by key; the page's modules are one instance, so the class that draws can be listened to
WATCH = """
const { Places } = await import("/static/effects/places.js");
const show = Places.prototype.show;
window.maps = [];
Places.prototype.show = function (config) { show.call(this, config); if (!window.maps.includes(this)) window.maps.push(this); window.shown = (window.shown ?? 0) + 1; };
"""
# what is drawn as soon as a window is shown, before anything else can be asked
AT_ONCE = """async (index) => {
    const range = document.querySelector(".scrub input"), panel = range.closest(".panel");
    range.value = index;
    range.dispatchEvent(new Event("input"));
    while (panel.dataset.window !== `2026-01-01T00:0${index}:00Z`) await new Promise(requestAnimationFrame);
    return window.maps[0].marks.get("chi-0001").row.trip_count;
}"""
DRAWN = """() => Object.fromEntries([...window.maps.at(-1).marks].map(([key, m]) => [key,
    {at: [m.getLatLng().lat, m.getLatLng().lng], color: m.options.fillColor, shape: m.options.shape, radius: m.getRadius(), n: m.row.n}]))"""


@pytest.fixture(scope="module")
def world() -> World:
    return city()


@pytest.fixture(scope="module")
def url(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("map"), service_of(world)) as found:
        yield found


def page_of(browser: Browser, url: str, path: str = PAGE, **look: Any) -> Watched:
    context = browser.new_context(**{"viewport": {"width": 1300, "height": 900}, "timezone_id": "UTC"} | look)
    watched = Watched(context.new_page(), url)
    watched.page.route("**/effects/main.js", listened)
    watched.open(path, f"{READY}, .live[data-state=error]")
    return watched


def listened(route: Route) -> None:
    """Let what the map draws be seen from outside."""
    answer = route.fetch()
    route.fulfill(response=answer, body=WATCH + answer.text())


@pytest.fixture
def watched(browser: Browser, url: str) -> Iterator[Watched]:
    found = page_of(browser, url)
    yield found
    found.page.context.close()


def minute(number: int) -> str:
    return f"2026-01-01T00:{number:02}:00Z"


def answered(page: Page, url: str, start: int, end: int | None = None, **more: str) -> list[dict[str, Any]]:
    params = {"from": minute(start), "to": minute(start + 1 if end is None else end), **more}
    return list(page.request.get(f"{url}{VIEW}", params=params).json()["data"])


def scrub(watched: Watched, index: int) -> None:
    """Move the scrubber, as a hand does, and wait until that window is shown."""
    watched.panel(PANEL).locator("input[type=range]").evaluate(
        "(r, i) => { r.value = i; r.dispatchEvent(new Event('input')); r.dispatchEvent(new Event('change')); }", index
    )
    start = watched.panel(PANEL).locator(".time").inner_text()[:16]
    until_shown(watched, start)


def until_shown(watched: Watched, start: str) -> None:
    watched.page.wait_for_function(
        "([name, start]) => document.querySelector(`[data-name=${name}]`)?.dataset.window === start",
        arg=[PANEL, f"{start.replace(' ', 'T')}:00Z"],
    )


def opened(watched: Watched) -> None:
    """Open the table, which is filled then."""
    watched.panel(PANEL).locator("summary").click()
    watched.panel(PANEL).locator("tbody tr").first.wait_for()


def drawn(watched: Watched) -> dict[str, Any]:
    return dict(watched.page.evaluate(DRAWN))


def check_drawn(watched: Watched, rows: list[dict[str, Any]]) -> None:
    """Hold what is drawn against rows of the API."""
    found = drawn(watched)
    there = [row for row in rows if row["cell_lat"] is not None]
    assert set(found) == {row["cell_id"] for row in there}
    for row in there:
        mark, level = found[row["cell_id"]], row["congestion_level"]
        assert mark["at"] == [row["cell_lat"], row["cell_lon"]]
        assert (mark["color"], mark["shape"]) == (COLORS[level], SHAPES[level])
        assert mark["radius"] == pytest.approx(20 * (row["trip_count"] / 10) ** 0.5)  # the area goes with the number


def output(watched: Watched, part: str) -> Locator:
    return watched.panel(PANEL).locator(part)


# ---- what is drawn -------------------------------------------------------------------------------------------------


def test_the_newest_window_is_drawn_as_the_api_answers_it(watched: Watched) -> None:
    rows = answered(watched.page, watched.url, WINDOWS - 1)
    assert {row["congestion_level"] for row in rows} == {"High", "Medium", "Low"}
    check_drawn(watched, rows)
    assert output(watched, ".newest").is_visible()
    assert output(watched, ".time").inner_text() == "2026-01-01 00:29 – 00:30 UTC"
    assert watched.wrong == []


@pytest.mark.parametrize("start", [0, 3, 12, 28])
def test_scrubbing_draws_that_window_as_the_api_answers_it(watched: Watched, start: int) -> None:
    before = drawn(watched)
    scrub(watched, start if start < BARE else start - 1)  # the window without places is passed over
    assert output(watched, ".time").inner_text().startswith(f"2026-01-01 00:{start:02} – ")
    check_drawn(watched, answered(watched.page, watched.url, start))
    assert drawn(watched) != before
    assert output(watched, ".newest").is_hidden()
    watched.until_address(f"at.cell_traffic=2026-01-01T00%3A{start:02}%3A00Z")
    rows = answered(watched.page, watched.url, start)
    opened(watched)
    assert {str(row[1]): row[2] for row in watched.shown(PANEL)} == {r["cell_id"]: r["trip_count"] for r in rows}
    assert watched.wrong == []


def test_the_legend_counts_each_word_and_says_what_a_size_means(watched: Watched) -> None:
    rows = [row for row in answered(watched.page, watched.url, WINDOWS - 1) if row["cell_lat"] is not None]
    for word in COLORS:
        count = sum(row["congestion_level"] == word for row in rows)
        assert output(watched, f".legend [data-word={word}]").text_content() == f"{word} ({count})"
    assert output(watched, ".legend").inner_text().endswith("10 trip_count")
    shapes = output(watched, ".legend [data-word] svg").evaluate_all("s => s.map(x => x.innerHTML)")
    assert len(set(shapes)) == 3  # told apart without any colour


def test_cells_without_a_place_are_counted_and_named_and_put_nowhere(watched: Watched) -> None:
    foot = output(watched, "> footer").inner_text()
    assert f"2 of {CELLS + 2} rows in this window without a place, in the table only: {', '.join(NOWHERE)}" in foot
    assert "1 window without any place passed over" in foot
    assert f"{CELLS} of {CELLS + 2} keys have a place at some time" in foot
    assert not set(NOWHERE) & set(drawn(watched))
    opened(watched)
    assert set(NOWHERE) <= {row[1] for row in watched.shown(PANEL)}
    assert output(watched, "input[type=range]").get_attribute("max") == str(WINDOWS - 2)


def test_a_coarser_grid_is_an_exact_roll_up(watched: Watched) -> None:
    output(watched, "select").select_option("10m")
    watched.until_address("per.cell_traffic=10m")
    until_shown(watched, "2026-01-01 00:20")
    rows = answered(watched.page, watched.url, 20, 30, window="10m")
    assert rows[0]["trip_count"] >= 10
    assert {key: m["n"] for key, m in drawn(watched).items()} == {
        row["cell_id"]: row["n"] for row in rows if row["cell_lat"] is not None
    }
    assert output(watched, ".time").inner_text() == "2026-01-01 00:20 – 00:30 UTC"
    assert output(watched, "input[type=range]").get_attribute("max") == "2"
    assert watched.wrong == []


def test_only_the_columns_and_the_window_that_are_shown_are_asked_for(browser: Browser, url: str) -> None:
    context = browser.new_context(timezone_id="UTC")
    watched = Watched(context.new_page(), url)
    asked: list[str] = []
    watched.page.on("request", lambda r: asked.append(r.url.removeprefix(url)) if "cell_traffic?" in r.url else None)
    watched.open(PAGE)
    rows = [address for address in asked if "from=" in address]
    assert rows == [f"{VIEW}?from=2026-01-01T00%3A29%3A00Z&to=2026-01-01T00%3A30%3A00Z&stats=mean&stats=n"]
    context.close()


# ---- time ----------------------------------------------------------------------------------------------------------


def test_the_label_has_the_viewers_zone_and_utc(browser: Browser, url: str) -> None:
    watched = page_of(browser, url, timezone_id="America/New_York")
    said = "2025-12-31 19:29 – 19:30 America/New_York · 2026-01-01 00:29 – 00:30 UTC"
    assert output(watched, ".time").inner_text() == said
    assert output(watched, "input[type=range]").get_attribute("aria-valuetext") == f"{said}, 29 of 29, the newest"
    watched.page.context.close()


def test_the_keyboard_scrubs_and_plays(watched: Watched) -> None:
    page = watched.page
    output(watched, "input[type=range]").focus()
    page.keyboard.press("ArrowLeft")
    until_shown(watched, "2026-01-01 00:28")
    page.keyboard.press("Home")
    until_shown(watched, "2026-01-01 00:00")
    page.keyboard.press("ArrowRight")
    until_shown(watched, "2026-01-01 00:01")
    page.keyboard.press(" ")
    assert output(watched, ".play").inner_text() == "Pause"
    until_shown(watched, "2026-01-01 00:03")
    page.keyboard.press(" ")
    assert output(watched, ".play").inner_text() == "Play"
    page.keyboard.press("End")
    until_shown(watched, "2026-01-01 00:29")
    check_drawn(watched, answered(page, watched.url, WINDOWS - 1))
    watched.until_address("^((?!at=).)*$")
    output(watched, ".places").focus()
    page.keyboard.press("+")
    assert watched.wrong == []


def test_it_plays_to_the_newest_window_and_stops_there(watched: Watched) -> None:
    scrub(watched, WINDOWS - 4)
    output(watched, ".play").click()
    until_shown(watched, "2026-01-01 00:29")
    output(watched, ".newest").wait_for()
    watched.page.wait_for_function("() => document.querySelector('.play').textContent === 'Play'")
    output(watched, ".play").click()  # from the end it begins at the beginning
    until_shown(watched, "2026-01-01 00:01")
    output(watched, ".play").click()
    assert watched.wrong == []


def test_leaving_the_page_leaves_nothing_behind(watched: Watched) -> None:
    output(watched, ".play").click()
    watched.page.locator("#nav a").first.click()
    watched.page.wait_for_selector(".card[data-state=complete]")
    watched.page.set_viewport_size({"width": 700, "height": 700})
    watched.page.wait_for_timeout(900)  # longer than a step of what played
    watched.page.go_back()
    until_shown(watched, "2026-01-01 00:29")
    check_drawn(watched, answered(watched.page, watched.url, WINDOWS - 1))
    assert watched.wrong == []


def test_on_paper_the_controls_are_left_out_and_the_time_stays(watched: Watched) -> None:
    watched.page.emulate_media(media="print")
    assert output(watched, ".places canvas").is_visible() and output(watched, ".time").is_visible()
    assert [
        output(watched, part).first.is_visible() for part in (".play", ".range", ".actions", ".leaflet-control-zoom")
    ] == [False] * 4


def test_an_address_leads_to_its_window(browser: Browser, url: str) -> None:
    watched = page_of(browser, url, f"{PAGE}&at.cell_traffic=2026-01-01T00:05:00Z")
    until_shown(watched, "2026-01-01 00:05")
    check_drawn(watched, answered(watched.page, url, 5))
    watched.page.context.close()


def test_it_follows_what_is_newest_and_stays_where_it_was_put(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    world = city(CELLS, 6)
    service = service_of(world)
    with served(tmp_path_factory.mktemp("follow"), service) as url:
        watched = page_of(browser, url, PAGE.replace("refresh=0", "refresh=1"))
        until_shown(watched, "2026-01-01 00:05")
        world.commit(trips(range(6, 7)))  # type: ignore[arg-type]
        service.step()
        until_shown(watched, "2026-01-01 00:06")
        check_drawn(watched, answered(watched.page, url, 6))
        scrub(watched, 2)
        late = [trip(10**8 + i, 1 + i % 2, "chi-0001", 100, (41_809_000, -87_698_500)) for i in range(6)]
        world.commit([*late, *trips(range(8, 9))])  # type: ignore[arg-type]
        service.step()
        watched.page.wait_for_function("() => document.querySelector('.scrub input').max === '7'")
        watched.page.wait_for_function("() => window.maps[0].marks.get('chi-0001').row.trip_count === 5")
        check_drawn(watched, answered(watched.page, url, 2))  # a late event is in the window that is shown
        assert watched.page.evaluate(AT_ONCE, 1) == 5  # and in one that was held before it came
        assert watched.wrong == []
        watched.page.context.close()


def test_nothing_is_drawn_anew_while_nothing_is_new(browser: Browser, url: str) -> None:
    context = browser.new_context()
    watched = Watched(context.new_page(), url)  # without a route: they switch the browser's cache off
    page = watched.open(PAGE.replace("refresh=0", "refresh=1"))
    page.evaluate(f"async () => {{ {WATCH} }}")
    answers: list[int] = []
    page.on("response", lambda r: answers.append(r.status) if "cell_traffic?" in r.url else None)
    page.wait_for_timeout(4500)  # a refresh may find the windows' list asked for by another address
    assert len(answers) >= 6  # two refreshes at least, though this machine be busy
    assert page.evaluate("window.shown ?? 0") <= 1
    context.close()


# ---- told of a place -----------------------------------------------------------------------------------------------


def point(watched: Watched, key: str) -> tuple[float, float]:
    x, y = watched.page.evaluate(
        """key => { const m = window.maps[0]; const p = m.map.latLngToContainerPoint(m.marks.get(key).getLatLng());
        m.place.scrollIntoView({ block: "center" }); const box = m.place.getBoundingClientRect(); return [box.x + p.x, box.y + p.y]; }""",
        key,
    )
    return x, y


def test_a_place_tells_its_numbers_and_leads_to_itself(watched: Watched) -> None:
    page = watched.page
    row = next(r for r in answered(page, watched.url, WINDOWS - 1) if r["cell_id"] == "chi-0002")
    page.mouse.move(*point(watched, "chi-0002"))
    tip = output(watched, ".leaflet-tooltip")
    tip.wait_for()
    lines = tip.inner_text().split("\n")
    assert lines[:2] == ["chi-0002", f"congestion_level {row['congestion_level']}"]
    assert lines[2:4] == [f"avg_speed {row['avg_speed']:.2f} mph", "trip_count 3"]
    page.mouse.click(*point(watched, "chi-0002"))
    popup = output(watched, ".leaflet-popup-content")
    popup.wait_for()
    scrub(watched, 0)
    before = next(r for r in answered(page, watched.url, 0) if r["cell_id"] == "chi-0002")
    assert f"avg_speed {before['avg_speed']:.2f} mph" in popup.inner_text()  # it goes with the window
    popup.get_by_role("button", name="Show only this").click()
    watched.until_address("key.cell_id=chi-0002")
    page.wait_for_function("() => window.maps[0].marks.size === 1")
    assert watched.wrong == []


def test_words_of_a_dataset_stay_words_on_the_map(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> None:
    hostile = '<img src=x onerror="window.hurt = true">'
    world = city(CELLS, 3)
    world.commit([trip(10**8, 3, hostile, 800, (41_850_000, -87_650_000))])  # type: ignore[arg-type]
    with served(tmp_path_factory.mktemp("hostile"), service_of(world)) as url:
        watched = page_of(browser, url)
        watched.page.mouse.click(*point(watched, hostile))
        output(watched, ".leaflet-popup-content").wait_for()
        assert output(watched, ".leaflet-popup-content strong").inner_text() == hostile
        assert watched.page.locator("main img").count() == 0 and watched.page.evaluate("window.hurt") is None
        assert watched.wrong == []
        watched.page.context.close()


def test_the_map_is_saved_as_a_picture_and_its_rows_as_csv(watched: Watched) -> None:
    with watched.page.expect_download() as taken:
        output(watched, ".png").click()
    assert taken.value.path().read_bytes().startswith(b"\x89PNG")
    with watched.page.expect_download() as taken:
        output(watched, ".csv").click()
    assert len(taken.value.path().read_text("utf-8").splitlines()) == 1 + CELLS + len(NOWHERE)


# ---- states --------------------------------------------------------------------------------------------------------


def test_where_no_cell_has_a_place_it_says_so_and_shows_the_table(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bare = World(traffic()).genesis()
    bare.clock.at_us += 3600 * 1_000_000
    bare.commit(trips(range(BARE, BARE + 1)))  # type: ignore[arg-type]
    with served(tmp_path_factory.mktemp("bare"), service_of(bare)) as url:
        watched = page_of(browser, url)
        assert output(watched, ".bare").inner_text().startswith("No row of these windows has a place")
        assert output(watched, ".figure").is_hidden() and output(watched, ".scrub").is_hidden()
        opened(watched)
        assert {row[1] for row in watched.shown(PANEL)} == set(NOWHERE)
        assert watched.wrong == []
        watched.page.context.close()


def emptied(route: Route) -> None:
    answer = route.fetch()
    body = answer.json() | {"data": []}
    route.fulfill(response=answer, json=body)


def test_without_rows_it_says_what_fills_it(browser: Browser, url: str) -> None:
    context = browser.new_context()
    watched = Watched(context.new_page(), url)
    watched.page.route("**/views/cell_traffic?*", emptied)
    watched.open(PAGE)
    assert watched.panel(PANEL).get_attribute("data-state") == "empty"
    assert output(watched, ".note code").first.inner_text() == "braid produce traffic"
    assert output(watched, ".scrub").is_hidden()
    context.close()


def test_without_an_answer_the_map_stays_and_says_so(watched: Watched) -> None:
    before = drawn(watched)
    problem = {"title": "Service Unavailable", "status": 503, "detail": "cassandra: no answer", "next": "braid up"}
    watched.page.route(
        "**/views/cell_traffic?*",
        lambda r: r.fulfill(status=503, content_type="application/problem+json", body=json.dumps(problem)),
    )
    output(watched, "input[type=range]").evaluate("r => { r.value = 2; r.dispatchEvent(new Event('input')); }")
    watched.page.wait_for_selector(f"[data-name={PANEL}][data-state=stale]")
    assert output(watched, ".stale").inner_text() == "not refreshed"
    assert "cassandra: no answer" in output(watched, ".note").first.inner_text()
    assert drawn(watched) == before
    watched.page.unroute("**/views/cell_traffic?*")
    watched.page.locator("#now").click()
    watched.page.wait_for_selector(f"[data-name={PANEL}][data-state=ready]")
    until_shown(watched, "2026-01-01 00:02")
    check_drawn(watched, answered(watched.page, watched.url, 2))


# ---- for everybody -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1300])
def test_it_fits_stands_out_and_axe_finds_nothing(browser: Browser, url: str, theme: Any, width: int) -> None:
    watched = page_of(browser, url, viewport={"width": width, "height": 800}, color_scheme=theme)
    page = watched.page
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CONTRASTS) == []
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    page.mouse.click(*point(watched, "chi-0002"))
    output(watched, ".leaflet-popup-content").wait_for()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert watched.wrong == []
    page.context.close()


def test_another_theme_colours_the_same_places(watched: Watched) -> None:
    before = drawn(watched)
    watched.page.select_option("#theme", "dark")
    watched.page.wait_for_function(
        "color => [...window.maps[0].marks.values()].every(m => m.options.color !== color)", arg="#ffffff"
    )
    after = drawn(watched)
    assert set(after) == set(before)
    assert all(after[key]["color"] != before[key]["color"] and after[key]["at"] == before[key]["at"] for key in before)
    assert watched.wrong == []


def test_less_motion_is_asked_for_and_given(browser: Browser, url: str) -> None:
    watched = page_of(browser, url, reduced_motion="reduce")
    options = watched.page.evaluate(
        "(({zoomAnimation, inertia, fadeAnimation}) => [zoomAnimation, inertia, fadeAnimation])(window.maps[0].map.options)"
    )
    assert options == [False, False, False]
    watched.page.context.close()


def test_leaflet_is_named_and_its_licence_is_served(watched: Watched) -> None:
    links = output(watched, ".leaflet-control-attribution a")
    assert links.evaluate_all("a => a.map(x => x.getAttribute('href'))") == [
        "https://leafletjs.com",
        "/static/vendor/leaflet-LICENSE.txt",
    ]
    licence = watched.page.request.get(f"{watched.url}/static/vendor/leaflet-LICENSE.txt")
    assert (
        licence.ok
        and "BSD 2-Clause License" in licence.text()
        and licence.headers["content-type"].startswith("text/plain")
    )
