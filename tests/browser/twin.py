"""The real API over the ports' twins, in this process: for tests of the page alone, in every state and without a stack.

Land cover is here under its own declaration, with the sample's first rows; a second dataset has words that try to be
HTML. What the page shows of the real stores is tested in `test_dashboard.py`.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from werkzeug.serving import make_server

from braid.adapters.environment import load
from braid.alerts import Alert
from braid.declaration import Declaration
from braid.declaration_reader import parse
from braid.ports import DeadLetterRow
from serving.app import create_app
from serving.operations import Operations
from serving.service import Service
from serving.watch import Watch
from tests.services.seed import Event, patches
from tests.stack_fixture import names
from tests.unit.serving_world import PLACE, START_US, World, service_of

CHECKOUT = Path(__file__).parents[2]
HOSTILE = '<img src=x onerror="window.hurt = true">'
SECOND = """
dataset: sky
title: Weather <img src=x onerror="window.hurt = true">
description: <script>window.hurt = true</script>
attribution: nobody <b>at all</b>, https://example.org/terms.
topic: rides-log
event_id: [station, at]
event_time: {field: at, zone: UTC}
fields:
  station: {type: string}
  at: {type: time}
  order: {type: string}
  temperature: {type: decimal, scale: 1, unit: °C}
views:
  by_order:
    title: Temperature per order
    by: [order, station]
    window: 1 minute
    measures: {temperature: {of: temperature, stats: [mean, min, max]}}
  hottest:
    title: Hottest stations
    by: [order, station]
    window: all
    measures: {temperature: {of: temperature, stats: [latest]}, said: {of: order, stats: [latest]}}
    rename: {temperature_latest: temperature, said_latest: last_said}
    top: {k: 2, of: temperature, per: [order]}
"""


def landcover() -> Declaration:
    """Return the land-cover declaration on the topic of the twins."""
    text = (CHECKOUT / "datasets" / "landcover.yaml").read_text("utf-8")
    return parse(text.replace("topic: image-events", f"topic: {PLACE[0]}"), "landcover")


@dataclass
class Twin:
    """A running API over twins; `step` lets it look at its stores again."""

    url: str
    service: Service
    land: World
    sky: World

    def step(self) -> None:
        """Let every follower and watch look once more."""
        self.service.step()

    def more(self, events: list[Event], alerts: list[Alert] | None = None) -> None:
        """Commit a micro-batch of land cover and look."""
        self.land.commit(events, alerts=alerts or [])
        self.land.clock.advance(1_000_000)
        self.step()


def alert_on(event: Event, offset: int, z: float) -> Alert:
    """Return an alert on an event of land cover."""
    values = {name: event.values[name] for name in ("ndvi_mean", "image_id", "ndvi_min", "ndvi_max")}
    return Alert(
        "anomaly_alerts", 0, *PLACE, offset, event.event_us, (event.values["class_name"],), values, z, 400, 0.21, 0.05
    )


def worlds() -> tuple[World, World]:
    """Return land cover with 30 micro-batches, 20 of them in generation 1, and a second dataset with a bad name."""
    land = World(landcover()).genesis()
    land.clock.at_us = START_US + 9 * 3600 * 1_000_000
    events = patches(CHECKOUT / "data", 3000)
    for start in range(0, 3000, 100):
        batch = events[start : start + 100]
        if start == 2800:  # two that came late, into windows that generation 1 holds
            batch[:2] = [replace(e, event_us=START_US + 7200 * 1_000_000) for e in batch[:2]]
        land.commit(batch, alerts=[alert_on(batch[50], start + 50, (-1) ** (start // 100) * (2.1 + start / 2000))])
        if start == 1900:
            land.publish(1)
    sky = World(parse(SECOND, "sky")).genesis()
    names_of = (HOSTILE, "plain")
    sky.commit(
        [
            Event(
                i + 1,
                START_US + i * 20_000_000,
                {"station": f"s{i % 3}", "order": names_of[i % 2], "temperature": 100 + i},
            )
            for i in range(60)
        ]
    )  # type: ignore[arg-type]
    return land, sky


@contextmanager
def running(folder: Path) -> Iterator[Twin]:
    """Serve land cover and the second dataset."""
    land, sky = worlds()
    service = service_of(land, sky)
    letters = (DeadLetterRow(*PLACE, 7, START_US, f"$.class_name: {HOSTILE}", HOSTILE.encode()),)
    service.operations["landcover"] = Watch("cassandra", lambda: Operations(letters, ()), 1.0, land.clock)
    with served(folder, service) as url:
        yield Twin(url, service, land, sky)


@contextmanager
def served(folder: Path, service: Service) -> Iterator[str]:
    """Serve the twins of some datasets on a free port; yields its address."""
    service.step()
    settings = load(names(BRAID_HOME=str(folder), BRAID_PORTS="free"))
    server = make_server("127.0.0.1", 0, create_app(settings, service), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()
