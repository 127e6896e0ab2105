"""The API: an answer that is held, one that the client holds (304), and one merged anew; beside a bare route of equal bytes."""

from __future__ import annotations

import json
import threading
import urllib.request
from pathlib import Path
from typing import Any

from bench import stats, wide
from bench.lab import Failed, Lab, say, view
from bench.results import Result, Row, Size, Target
from bench.slices import served
from braid.adapters.kafka_producer import EventProducer
from braid.settings import LOOPBACK

NAME = "wide"
VIEWERS = 50


def run(lab: Lab, size: Size) -> Result:
    """Fill a view of 1,000 keys × 144 windows, publish most of it, leave a tail, and ask."""
    found = Result("api", "API: requests answered per second, one worker", "req/s")
    keys, windows = size.whole(1_000, 100), size.whole(144, 12)
    lab.declared(NAME, wide.text(NAME))
    with lab.running(NAME):
        wide.fill(lab, NAME, keys, range(windows - windows // 12), "a")
        lab.batch(NAME)
        wide.fill(lab, NAME, keys, range(windows - windows // 12, windows), "b")
        port = lab.settings.ports.api
        _peak(lab, size, found, port)
        _merged(lab, size, found, port, keys, windows)
    lab.drop(NAME)
    return found


def _peak(lab: Lab, size: Size, found: Result, port: int) -> None:
    """Hits and 304s, closed loop, in turn with a bare route that returns the same bytes."""
    path = view(NAME, wide.VIEW, f"key=k00001&limit={size.whole(144, 12)}")
    with urllib.request.urlopen(f"http://{LOOPBACK}:{port}{path}", timeout=30) as answer:
        body = answer.read()
    file = lab.where / "body"
    file.write_bytes(body)
    rates: dict[str, list[float]] = {}
    with served(lab, "bench.arms.bare:application()", "/bare", {"BENCH_BODY": str(file)}) as bare:
        for turn in range(size.whole(8, 1) + 1):
            for kind, etag in (("hit", False), ("304", True)):
                for arm, where, asked in (("braid", port, path), ("bare", bare, "/bare")):
                    one = load(
                        lab,
                        {"port": where, "paths": [asked], "viewers": VIEWERS, "seconds": size.of(1.5, 1), "etag": etag},
                    )
                    wanted = "304" if etag else "200"
                    found.samples.append({"arm": arm, "kind": kind, "turn": turn, **one})
                    if set(one["statuses"]) != {wanted} or (
                        not etag and arm == "braid" and one["bytes"] != len(body) * one["answered"]
                    ):
                        found.void.append(
                            f"{arm} {kind}: expected only {wanted} and equal bytes, got {one['statuses']}, {one['bytes']} bytes"
                        )
                    elif turn:
                        rates.setdefault(f"{arm} {kind}", []).append(one["per_s"])
    for kind, target in (("hit", Target("ratio", "at least", 0.8)), ("304", None)):
        mine, anchor = rates.get(f"braid {kind}", []), rates.get(f"bare {kind}", [])
        if mine and anchor:
            found.rows.append(
                Row(
                    f"{kind}, {len(body):,} bytes", "req/s", stats.quantile(mine, 0.5), stats.quantile(anchor, 0.5), "bare Flask route, same gunicorn",
                    stats.ratio(mine, anchor), target,
                )
            )  # fmt: skip
        else:
            found.failed(kind, "no turn counts")
    found.bars = {name: stats.quantile(values, 0.5) for name, values in rates.items()}


def _merged(lab: Lab, size: Size, found: Result, port: int, keys: int, windows: int) -> None:
    """Merged answers that nobody holds: 50 viewers, open loop, while a trickle of events makes every answer new."""
    asks = {
        "one key, all its windows": [view(NAME, wide.VIEW, f"key=k{k:05d}") for k in range(keys)],
        "100 rows of all": [view(NAME, wide.VIEW, f"limit=100&from={wide.at(w)}Z") for w in range(windows)],
        "one window, all keys": [
            view(NAME, wide.VIEW, f"from={wide.at(w)}Z&to={wide.at(w + 1)}Z") for w in range(windows)
        ],
    }
    for name, paths in asks.items():
        with _trickle(lab):
            one = load(
                lab, {"port": port, "paths": paths, "viewers": VIEWERS, "seconds": size.of(10, 3), "rate": VIEWERS}
            )
        found.samples.append({"arm": "braid", "kind": name, **one})
        if set(one["statuses"]) != {"200"}:
            found.failed(f"merged: {name}", f"statuses {one['statuses']}")
            continue
        target = Target("product", "at most", 0.010) if name == "one key, all its windows" else None
        note = f"{VIEWERS} viewers, one request a second each, {keys:,} keys × {windows} windows, new events ten times a second"
        told = stats.summary(one["latencies_s"])
        found.rows.append(Row(f"merged miss p99: {name}", "s", told["p99"], target=target, note=note))
        found.rows.append(Row(f"merged miss p50: {name}", "s", told["p50"]))
        say(f"api: merged, {name}: p50 {told['p50'] * 1000:.1f} ms, p99 {told['p99'] * 1000:.1f} ms")


class _trickle:  # noqa: N801 - it is used as a block
    """Sends an event ten times a second, so that no answer stays the newest."""

    def __init__(self, lab: Lab) -> None:
        self._bootstrap = lab.settings.kafka_bootstrap
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(30)

    def _send(self) -> None:
        count = 0
        with EventProducer(self._bootstrap) as producer:
            while not self._over.wait(0.1):
                count += 1
                id_ = f"t{id(self)}-{count}"
                raw = f'{{"id": "{id_}", "key": "k00001", "at": "{wide.at(1)}", "x": 1}}'
                producer.send(f"{NAME}-events", id_.encode(), raw.encode())


def load(lab: Lab, spec: dict[str, Any]) -> dict[str, Any]:
    """Run the HTTP load; return what it says. Raises Failed when it says nothing."""
    with lab.process("bench.http_load") as process:
        process.tell(json.dumps(spec))
        one = process.hear(float(spec["seconds"]) * 4 + 60)
    if not one["answered"]:
        raise Failed(f"http load: no answer from port {spec['port']}: {Path(spec['paths'][0])}")
    return one
