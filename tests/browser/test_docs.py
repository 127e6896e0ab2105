"""The page /docs in a real browser: it draws the document alone, under the strict policy, and asks nobody else."""

import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser
from werkzeug.serving import make_server

from braid.settings import LOOPBACK
from tests.unit.serving_world import app_of
from tests.unit.test_serving_answers import a_world


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Yield the address of an API over twins: the page needs no store."""
    app = app_of(a_world())
    app.extensions["braid"].step()
    server = make_server(LOOPBACK, 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://{LOOPBACK}:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_document_is_drawn_offline_and_its_links_answer(address: str, browser: Browser) -> None:
    asked: list[str] = []
    wrong: list[str] = []
    page = browser.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: wrong.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(f"{address}/docs")
    view = page.locator("details", has=page.locator("summary code", has_text="/views/rides_by_minute"))
    view.locator("summary").click()
    assert "largest value of fare_usd" in view.inner_text() and "USD" in view.inner_text()
    view.get_by_label("value of window").fill("1h")
    view.get_by_label("value of group_by").select_option("city")
    link = view.locator("a.try")
    assert link.inner_text() == "/api/v1/datasets/rides/views/rides_by_minute?window=1h&group_by=city"
    assert "as_of" in page.request.get(address + link.inner_text()).json()["meta"]
    status = page.locator("details", has=page.locator("summary code", has_text="/api/v1/status"))
    status.locator("summary").click()
    assert "datasets[].micro_batch.seconds" in status.inner_text()
    page.close()
    assert wrong == []
    assert all(url.startswith((address, "data:")) for url in asked)
