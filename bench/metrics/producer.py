"""The producer: Braid's over sample rows, Braid's client on ready bytes, and Kafka's ProducerPerformance, in turn."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable

from bench import events, kafka_tools, stats
from bench.lab import Failed, Lab, say
from bench.results import Result, Row, Size, Target
from braid.adapters.kafka_producer import EventProducer

NAME = "sends"
_MOST = 20_000  # unacknowledged at most, as in Braid's own producer
_ROWS, _READY, _ANCHOR = "braid, from rows", "braid, ready bytes", "ProducerPerformance"
# how many times each sends the payloads: seconds of each, or what is measured were partly its start
_PASSES = {_ROWS: 2, _READY: 5, _ANCHOR: 10}


def run(lab: Lab, size: Size) -> Result:
    """Send the same bytes three ways; a turn counts when the topic grew by exactly what was sent."""
    found = Result("producer", "Producer: events acknowledged per second", "events/s")
    load = events.load(3, 0, size.whole(200_000, 20_000))
    sent = {name: len(load.raws) * (times if not size.quick else 1) for name, times in _PASSES.items()}
    payloads = lab.where / "payloads"
    payloads.write_bytes(b"\n".join(load.raws))
    settings = lab.settings
    lab.declared(NAME)
    topic = f"{NAME}-events"
    ways: dict[str, Callable[[], float]] = {
        _ROWS: lambda: _from_rows(lab, sent[_ROWS]),
        _READY: lambda: _ready(lab, topic, load, sent[_READY]),
        _ANCHOR: lambda: kafka_tools.perf_test(settings, topic, payloads, sent[_ANCHOR])["records_per_s"],
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(size.whole(6, 1) + 1):
        for name, way in ways.items():
            before = sum(lab.ends(topic).values())
            try:
                rate = way()
            except (Failed, subprocess.SubprocessError) as why:
                found.void.append(f"{name}: {why}")
                continue
            grown = sum(lab.ends(topic).values()) - before
            found.samples.append({"way": name, "turn": turn, "events_per_s": rate, "grown": grown})
            if grown != sent[name]:
                found.void.append(f"{name}: sent {sent[name]:,}, the topic grew by {grown:,}")
            elif turn:  # the first warms up
                rates[name].append(rate)
        say(f"producer: turn {turn}")
    anchor = rates.pop(_ANCHOR)
    for (name, mine), target in zip(rates.items(), (0.10, 0.30), strict=True):
        if mine:
            found.rows.append(
                Row(
                    name, "events/s", stats.quantile(mine, 0.5), stats.quantile(anchor, 0.5) if anchor else None,
                    "ProducerPerformance: same bytes, acks, linger, compression", stats.ratio(mine, anchor),
                    Target("ratio", "at least", target),
                )
            )  # fmt: skip
    found.bars = {name: stats.quantile(v, 0.5) for name, v in {**rates, _ANCHOR: anchor}.items() if v}
    (lab.root / "datasets" / f"{NAME}.yaml").unlink()
    return found


def _from_rows(lab: Lab, count: int) -> float:
    """Run `braid produce` over the sample rows, again and again, and return what it says of its rate."""
    words = [
        "produce",
        NAME,
        "--data",
        str(lab.root / "data" / "landcover"),
        "--loop",
        "--limit",
        str(count),
        "--delay",
        "0",
    ]
    command = [
        sys.executable,
        "-m",
        "cli.main",
        *words,
        "--start",
        "2026-01-01T00:00:00Z",
        "--every",
        "10ms",
        "--quiet",
        "--json",
    ]
    more = lab.environ | lab.settings.spark_env()
    done = subprocess.run(command, env=more, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise Failed(f"braid produce: exit {done.returncode}: {done.stderr.strip()[-400:]}")
    said = json.loads(done.stdout)
    return float(said["acknowledged"] / said["seconds"])


def _ready(lab: Lab, topic: str, load: events.Load, count: int) -> float:
    """Send ready bytes with Braid's client, again and again, until all are acknowledged."""
    began = time.monotonic()
    with EventProducer(lab.settings.kafka_bootstrap) as producer:
        waiting = []
        again = itertools.cycle(zip(load.keys, load.raws, strict=True))
        for key, raw in itertools.islice(again, count):
            waiting.append(producer.send(topic, key, raw))
            if len(waiting) >= _MOST:
                while not waiting[_MOST // 2].is_done:
                    time.sleep(0.001)
                waiting = [d for d in waiting if not d.is_done]
    return count / (time.monotonic() - began)
