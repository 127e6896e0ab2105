"""`make test-scalability`: its numbers out of what was seen, and that a wrong count gives none."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import make_server

from bench.scalability import Api, Seen, judged
from bench.stats import freshness, quantile, slope
from braid.errors import UsageError
from braid.instants import iso
from tests.unit.serving_world import START_US, World, app_of, ride, settings_of

START_S = START_US / 1e6


def summary(sent: int, every_us: int, acknowledged: int | None = None) -> dict[str, Any]:
    return {
        "sent": sent,
        "acknowledged": sent if acknowledged is None else acknowledged,
        "first_time": iso(START_US),
        "last_time": iso(START_US + (sent - 1) * every_us),
    }


def test_a_stream_that_keeps_up_has_no_slope_and_a_steady_age() -> None:
    # ten a second, each in an answer 0.25 s after it was due
    counts = [(START_S + 0.1 * k + 0.25, 500 + k + 1) for k in range(100)]
    lags = [(START_S + k, 2) for k in range(10)]
    found = judged(10, summary(100, 100_000), 500, Seen(counts, lags), START_S + 10)
    assert (found.sent, found.counted, found.void, found.keeps_up) == (100, 100, "", True)
    assert found.lag_slope_per_s == pytest.approx(0) and found.most_lag == 2
    assert (found.freshness_p50_s, found.freshness_p99_s) == (
        pytest.approx(0.25, abs=1e-6),
        pytest.approx(0.25, abs=1e-6),
    )
    assert found.sent_per_s == pytest.approx(10)


def test_the_lag_of_the_first_third_is_no_slope() -> None:
    counts = [(START_S + 0.1 * k + 2, k + 1) for k in range(100)]
    lags = [(START_S + t / 2, min(20, 5 * t)) for t in range(20)]  # it grows for two seconds, and stays
    found = judged(10, summary(100, 100_000), 0, Seen(counts, lags), START_S + 10)
    assert found.lag_slope_per_s == pytest.approx(0) and found.keeps_up


def test_a_stream_that_falls_behind_shows_by_its_slope_and_ages() -> None:
    # of ten a second eight are counted
    counts = [(START_S + k / 8, k + 1) for k in range(100)]
    lags = [(START_S + t, 2 * t) for t in range(10)]
    found = judged(10, summary(100, 100_000), 0, Seen(counts, lags), START_S + 10)
    assert found.lag_slope_per_s == pytest.approx(2) and not found.keeps_up
    assert found.freshness_p99_s is not None and found.freshness_p50_s is not None
    assert found.freshness_p99_s > found.freshness_p50_s > 1


@pytest.mark.parametrize(
    ("counted", "acknowledged", "why"),
    [
        (9, 10, "10 sent, 10 acknowledged, 9 more in the answer"),
        (11, 10, "11 more"),
        (10, 9, "10 sent, 9 acknowledged"),
    ],
)
def test_another_count_than_was_sent_is_void(counted: int, acknowledged: int, why: str) -> None:
    found = judged(10, summary(10, 100_000, acknowledged), 5, Seen([(START_S + 2, 5 + counted)], []), START_S + 2)
    assert why in found.void
    assert (found.freshness_p50_s, found.lag_slope_per_s, found.keeps_up) == (None, None, None)


def test_nothing_seen_is_void() -> None:
    assert judged(10, summary(10, 1), 0, Seen(), START_S).void


def test_an_event_is_fresh_when_the_first_answer_holds_it() -> None:
    assert freshness([0, 0, 0, 1], [(1, 0), (2, 3), (3, 3), (4, 4)]) == [2, 2, 2, 3]


def test_slope_and_quantile_of_little() -> None:
    assert slope([]) is None and slope([(1, 1), (1, 2)]) is None
    assert quantile([5.0], 0.99) == 5.0
    assert quantile(range(1, 101), 0.99) == 99 and quantile(range(1, 101), 0.5) == 50


def test_the_questions_are_those_of_the_real_api(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BRAID_KEY_FILE", raising=False)
    world = World().genesis()
    world.commit([ride(1, "Bern", 1), ride(2, "Lima", 2, minute=5)])
    app = app_of(world)
    app.extensions["braid"].step()
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        settings = settings_of(Path(__file__).parents[2])
        settings = replace(settings, ports=replace(settings.ports, api=server.server_port))
        api, fine = Api(settings, "rides", ""), Api(settings, "rides", "rides_by_minute")
        assert (api.counted(), fine.counted(), api.counted(), api.lag()) == (2, 2, 2, 0)
        world.log_end = {("rides-log", 0): 5}
        app.extensions["braid"].step()
        assert api.lag() == 3
        with pytest.raises(UsageError, match="--view: expected one of rides_by_minute, rides_by_city, got 'x'"):
            Api(settings, "rides", "x")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
