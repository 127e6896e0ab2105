"""`make test-scalability`: 10, then 100, then 1,000 events/s into a running stack; does the stream keep up, and how fresh are answers?

    .venv/bin/python -m bench.scalability --dataset NAME        # needs `braid up` and sample data; nobody else may send meanwhile

The producer sends events whose event time is when each was due, by its schedule, so that what a slow producer or a stalled
stream delays is counted, and not left out. While it sends, two questions are asked: how many events does a view's answer hold
(every 20 ms, by ETag), and how far is the ledger behind the topic's end (every half second).

- *lag slope*: the straight line through the lag, in events per second, without the first third of the time, in which it grows to that
  of a micro-batch. Around 0 the stream keeps up; at the rate it counts nothing. Short runs on a busy machine say little.
- *freshness*: from when an event was due to the first answer that holds it. The k-th event is in the answers that hold more
  than k; partitions may swap neighbours, by less than a producer's batch of a few ms.
- *void*: the answer does not hold exactly what was sent and acknowledged. Then no number of that rate is given.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlencode

from rich.console import Console
from rich.table import Table

from bench.stats import freshness, quantile, slope
from braid.adapters.environment import load
from braid.errors import BraidError, UsageError
from braid.instants import instant_us
from braid.settings import LOOPBACK, Settings
from cli.api import get

RATES = (10, 100, 1_000)  # events per second
SECONDS = 30
COUNT_EVERY_S, LAG_EVERY_S = 0.02, 0.5
PATIENCE_S = 60.0  # for what was sent to be counted
RAMP = 1 / 3  # of the time; until then the lag grows to that of one micro-batch, whatever the load
KEEPS_UP = 0.05  # a slope below this part of the rate is none: the lag goes up and down with every micro-batch


@dataclass(frozen=True, slots=True)
class Rung:
    """What one rate gave; `void` says why its numbers are none."""

    rate_per_s: float
    sent: int
    counted: int
    sent_per_s: float = 0.0
    lag_slope_per_s: float | None = None
    most_lag: int | None = None
    freshness_p50_s: float | None = None
    freshness_p99_s: float | None = None
    keeps_up: bool | None = None
    void: str = ""


@dataclass
class Seen:
    """What was asked while events were sent: (Unix seconds, events in the answer) and (Unix seconds, lag in events)."""

    counts: list[tuple[float, int]] = field(default_factory=list)
    lags: list[tuple[float, int]] = field(default_factory=list)


class Api:
    """The two questions, of one dataset."""

    def __init__(self, settings: Settings, dataset: str, view: str) -> None:
        self.dataset = dataset
        self._base = f"http://{LOOPBACK}:{settings.ports.api}"
        views = {one["view"]: one for one in get(f"{self._base}/api/v1/datasets/{dataset}").body["data"]["views"]}
        all_time = next((name for name, one in views.items() if one["window_s"] is None), next(iter(views)))
        name = view or all_time
        if name not in views:
            raise UsageError(f"--view: expected one of {', '.join(views)}, got {name!r}")
        whole = {"group_by": ""} | ({} if views[name]["window_s"] is None else {"window": "all"})
        self._address = f"{self._base}{views[name]['url']}?{urlencode(whole)}"
        self._etag: str | None = None
        self._counted = 0

    def counted(self) -> int:
        """Return how many events the view's answer holds."""
        got = get(self._address, self._etag)
        if got.body is not None:
            self._etag, self._counted = got.etag, sum(row["n"] for row in got.body["data"])
        return self._counted

    def lag(self) -> int | None:
        """Return how many records of the topics the ledger has not counted, None when Kafka does not say."""
        found = get(f"{self._base}/api/v1/status").body["datasets"]
        events: int | None = next(one["lag"]["events"] for one in found if one["dataset"] == self.dataset)
        return events


def main() -> int:
    """Climb the rates; 1 when a rate is void."""
    parser = argparse.ArgumentParser(prog="make test-scalability", description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--view", default="", help="whose events are counted (the first one of all time)")
    parser.add_argument("--rates", default=",".join(map(str, RATES)), help="events per second (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of sending, per rate (default: %(default)s)")
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args()
    say = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    try:
        settings = load()
        api = Api(settings, given.dataset, given.view)
        rungs = []
        for rate in map(float, given.rates.split(",")):
            say.print(f"{rate:,g} events/s for {given.seconds} s")
            rungs.append(rung(settings, api, rate, given.seconds))
    except BraidError as error:
        say.print(f"test-scalability: {error}")
        return error.exit_code
    if given.as_json:
        print(json.dumps({"dataset": given.dataset, "seconds": given.seconds, "rates": [asdict(r) for r in rungs]}))
    else:
        _show(given.dataset, rungs)
    return 1 if any(r.void for r in rungs) else 0


def rung(settings: Settings, api: Api, rate_per_s: float, seconds: int) -> Rung:
    """Send at one rate for some seconds, and measure."""
    before = _settled(api)
    seen, over = Seen(), threading.Event()
    asking = [
        threading.Thread(target=_ask, args=(over, COUNT_EVERY_S, seen.counts, api.counted)),
        threading.Thread(target=_ask, args=(over, LAG_EVERY_S, seen.lags, api.lag)),
    ]
    for thread in asking:
        thread.start()
    try:
        summary = _send(settings, api.dataset, rate_per_s, seconds)
        ended_s = time.time()
        until = time.monotonic() + PATIENCE_S
        # a little longer than needed: one event too many is as wrong as one too few
        while time.monotonic() < until and not (seen.counts and seen.counts[-1][1] - before >= summary["acknowledged"]):
            time.sleep(0.1)
        time.sleep(1)
    finally:
        over.set()
        for thread in asking:
            thread.join()
    return judged(rate_per_s, summary, before, seen, ended_s)


def _settled(api: Api) -> int:
    """Return how many events are counted once nothing is left to count."""
    until = time.monotonic() + PATIENCE_S
    while api.lag() != 0:
        if time.monotonic() > until:
            raise BraidError(
                f"{api.dataset}: expected the stream at the end of its topics, got a lag of {api.lag()} events"
            )
        time.sleep(0.5)
    time.sleep(1)  # the API follows the ledger by some 100 ms
    return api.counted()


def _ask(
    over: threading.Event, every_s: float, found: list[tuple[float, int]], question: Callable[[], int | None]
) -> None:
    while not over.is_set():
        with suppress(BraidError):  # an answer that is not there is late, and so counted
            answer = question()
            if answer is not None:
                found.append((time.time(), answer))
        over.wait(every_s)


def _send(settings: Settings, dataset: str, rate_per_s: float, seconds: int) -> dict[str, Any]:
    words = ["produce", dataset, "--start", "now", "--loop", "--rate", f"{rate_per_s:g}", "--duration", f"{seconds}s"]
    command = [str(settings.python), "-m", "cli.main", *words, "--quiet", "--json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise BraidError(f"braid {' '.join(words)}: exit {done.returncode}: {done.stderr.strip()[-500:]}")
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


# ---- numbers -------------------------------------------------------------------------------------------------------


def judged(rate_per_s: float, summary: dict[str, Any], before: int, seen: Seen, ended_s: float) -> Rung:
    """Return what a rate gave.

    Parameters
    ----------
    summary : the producer's: sent, acknowledged, first_time, last_time
    before : events in the answer before
    ended_s : when the producer had ended, Unix seconds
    """
    sent, counted = summary["acknowledged"], seen.counts[-1][1] - before if seen.counts else 0
    if counted != sent or summary["sent"] != sent or sent < 2:
        why = f"{summary['sent']:,} sent, {sent:,} acknowledged, {counted:,} more in the answer"
        return Rung(rate_per_s, sent, counted, void=why)
    first_s, last_s = (instant_us(summary[name]) / 1e6 for name in ("first_time", "last_time"))
    due = [first_s + k * (last_s - first_s) / (sent - 1) for k in range(sent)]
    ages = freshness(due, [(at, n - before) for at, n in seen.counts])
    begin_s = first_s + RAMP * (last_s - first_s)
    lags = [(at, lag) for at, lag in seen.lags if begin_s <= at <= min(last_s, ended_s)]
    line = slope(lags)
    return Rung(
        rate_per_s, sent, counted,
        sent_per_s=(sent - 1) / (last_s - first_s),
        lag_slope_per_s=line,
        most_lag=max((lag for _, lag in lags), default=None),
        freshness_p50_s=quantile(ages, 0.5),
        freshness_p99_s=quantile(ages, 0.99),
        keeps_up=None if line is None else line <= KEEPS_UP * rate_per_s,
    )  # fmt: skip


def _show(dataset: str, rungs: Sequence[Rung]) -> None:
    table = Table(title=f"{dataset}: rate, lag, freshness", title_justify="left", box=None, pad_edge=False)
    for column in ("events/s", "sent", "counted", "lag slope, events/s", "most lag", "fresh p50, s", "p99, s", ""):
        table.add_column(column, justify="right")
    for r in rungs:
        numbers = (r.lag_slope_per_s, r.most_lag, r.freshness_p50_s, r.freshness_p99_s)
        verdict = f"void: {r.void}" if r.void else "keeps up" if r.keeps_up else "falls behind"
        cells = ("" if x is None else f"{x:,.2f}" if isinstance(x, float) else f"{x:,}" for x in numbers)
        table.add_row(f"{r.rate_per_s:,g}", f"{r.sent:,}", f"{r.counted:,}", *cells, verdict)
    # whole lines where there is no terminal
    (Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=140)).print(table)


if __name__ == "__main__":
    sys.exit(main())
