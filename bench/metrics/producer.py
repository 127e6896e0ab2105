"""The producer: Braid's over sample rows, Braid's client on ready bytes, and Kafka's ProducerPerformance, in turn."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping

from bench import events, kafka_tools, stats
from bench.lab import Failed, Lab, Process, say
from bench.results import Result, Row, Size, Target

NAME, SEED = "sends", 3
_ROWS, _READY, _ANCHOR = "braid, from rows", "braid, ready bytes", "ProducerPerformance"
# how many times each sends the payloads: seconds of each, or what is measured were partly its start
_PASSES = {_ROWS: 2, _READY: 5, _ANCHOR: 10}


def run(lab: Lab, size: Size) -> Result:
    """Send the same bytes three ways; a turn counts when the topic grew by exactly what was sent."""
    found = Result("producer", "Producer: events acknowledged per second", "events/s")
    made, topic = size.whole(200_000, 20_000), f"{NAME}-events"
    sent = {name: made * size.whole(times, 1) for name, times in _PASSES.items()}
    payloads = lab.where / "payloads"
    payloads.write_bytes(b"\n".join(events.load(SEED, 0, made).raws))
    settings = lab.settings
    lab.declared(NAME)
    spec = {"bootstrap": settings.kafka_bootstrap, "topic": topic, "seed": SEED, "made": made, "count": sent[_READY]}
    with lab.process("bench.arms.ready", json.dumps(spec)) as client:
        client.hear()
        ways: dict[str, Callable[[], float]] = {
            _ROWS: lambda: _from_rows(lab, sent[_ROWS]),
            _READY: lambda: _ready(client),
            _ANCHOR: lambda: kafka_tools.perf_test(settings, topic, payloads, sent[_ANCHOR])["records_per_s"],
        }
        rates = _turns(lab, size, found, topic, ways, sent)
    _tabled(found, rates)
    (lab.root / "datasets" / f"{NAME}.yaml").unlink()
    return found


def _turns(
    lab: Lab,
    size: Size,
    found: Result,
    topic: str,
    ways: Mapping[str, Callable[[], float]],
    sent: Mapping[str, int],
) -> dict[str, list[float]]:
    """Return events a second by way, turn by turn; the first warms up."""
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
            elif turn:
                rates[name].append(rate)
        say(f"producer: turn {turn}")
    return rates


def _tabled(found: Result, rates: dict[str, list[float]]) -> None:
    """Put rows and bars into a result."""
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


def _ready(client: Process) -> float:
    """Let the client send once more, and return what it says of its rate."""
    client.tell("go")
    return float(client.hear(300)["per_s"])
