"""How cost grows: a micro-batch with the ids ever seen, an answer with the history and with the tail. b of cost = a·x^b."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from itertools import chain

from bench import events, stats, wide
from bench.lab import Client, Failed, Lab, eventually, medians, say, status, view
from bench.metrics.api import load
from bench.results import Result, Row, Size, Target
from bench.slices import SEED, STREAM, Slice, Warm, measured, warm
from braid.adapters.kafka_producer import EventProducer

HISTORY, TAIL = "longhistory", "longtail"


def run(lab: Lab, size: Size) -> Result:
    """Measure each growth on a dataset of its own; what cannot be measured is a row that says why."""
    found = Result("growth", "Cost growth", "relative to the smallest")
    found.across = "size, relative to the smallest"
    for name, one in (("ids ever seen", _ids), ("history", _history), ("tail", _tail)):
        try:
            one(lab, size, found)
        except Failed as why:
            found.failed(name, why)
        lab.let_go()
    return found


def _ids(lab: Lab, size: Size, found: Result) -> None:
    """Run one stream at 5,000 events/s with 1, 10 and 100 million further ids in the file of seen ids, one after the other."""
    rate = size.whole(5_000, 500)
    counted: dict[int, list[Slice]] = {}
    stream = warm(lab, size, rate)
    for ids in (10**6, 10**7, 10**8) if not size.quick else (10**5, 10**6):
        _filled(lab, stream, ids)
        file = lab.settings.home / "speed" / STREAM / "seen-ids.lmdb" / "data.mdb"
        mb = file.stat().st_blocks * 512 / 1e6
        for turn in range(size.whole(5, 1)):
            one = measured(lab, stream.arm, rate, size.of(10, 6), f"ids-{ids}-{turn}", stream.numbers)
            found.samples.append({"ids": ids, "file_mb": mb, **one.plain()})
            if one.void:
                found.void.append(f"{ids:,} ids: {one.void}")
            elif one.batches:
                counted.setdefault(ids, []).append(one)
        if ids in counted:
            say(f"growth: {ids:,} ids: micro-batch {_took(counted[ids]) * 1000:.0f} ms, file {mb:,.0f} MB")
    if len(counted) < 2:
        raise Failed("fewer than two sizes count")
    points = list(by_speed(counted).items())
    (smallest, least), *_ = points
    for ids, took in points:
        phases = medians([b["phases"] for one in counted[ids] for b in one.batches])
        ratio = stats.ratio([took], [least])
        note = (
            f"{_took(counted[ids]) * 1000:.0f} ms as the clock has it; look-up and fold {phases.get('folded', 0) * 1000:.1f} ms; "
            "the ids were put in order, which fills pages"
        )
        found.rows.append(
            Row(
                f"micro-batch, {ids:,} ids in the file",
                "s",
                took,
                least,
                f"{smallest:,} ids",
                ratio,
                Target("ratio", "at most", 1.15),
                note,
            )
        )
    _exponent(found, "micro-batch by ids ever seen", points, 0.05)


def by_speed(counted: Mapping[int, Sequence[Slice]]) -> dict[int, float]:
    """Return the seconds of a micro-batch by ids, had the machine been as quick throughout as in the middle of it.

    The file only grows, so that its sizes cannot take turns, and minutes lie between them: each slice's median is set against
    the spin of that very slice. Of a size the quietest slice counts.
    """
    middle = stats.quantile([one.spin_s for slices in counted.values() for one in slices], 0.5)
    return {ids: min(_median(one) / one.spin_s for one in slices) * middle for ids, slices in counted.items()}


def _median(one: Slice) -> float:
    return stats.quantile([b["seconds"] for b in one.batches], 0.5)


def _took(slices: Sequence[Slice]) -> float:
    return min(map(_median, slices))


def _filled(lab: Lab, stream: Warm, ids: int) -> None:
    """Bring the file of seen ids to so many further ids: a micro-batch does it, so one event is sent."""
    stream.ids.write_text(str(ids), "ascii")
    topic = stream.arm.topic
    one = events.load(SEED, stream.numbers.take(topic, 1), 1)
    with EventProducer(lab.settings.kafka_bootstrap) as producer:
        producer.send_all(topic, list(zip(one.keys, one.raws, strict=True)))
    stream.arm.reference.add(one.reference)
    done = stream.ids.with_suffix(".done")
    eventually(f"{ids:,} further ids", lambda: done.exists() and int(done.read_text("ascii") or 0) == ids, 900.0, 0.2)


def _history(lab: Lab, size: Size, found: Result) -> None:
    """Ask for the same rows over ever more windows of history, all in one generation."""
    keys = size.whole(50, 10)
    lab.declared(HISTORY, wide.text(HISTORY))
    points: list[tuple[float, float]] = []
    held = 0
    with lab.running(HISTORY):
        for windows in (36, 360, 3_600) if not size.quick else (12, 120):
            wide.fill(lab, HISTORY, keys, range(held, windows), "h")
            held = windows
            lab.batch(HISTORY)
            wide.fill(lab, HISTORY, keys, range(windows - 1, windows), f"t{windows}")
            points.append((windows, _asked(lab, size, HISTORY, keys, windows, found)))
    lab.drop(HISTORY)
    _exponent(found, "answer by windows of history", points, 0.1)


def _tail(lab: Lab, size: Size, found: Result) -> None:
    """Ask for the same rows while the tail grows to hundreds of micro-batches and no batch runs."""
    keys, windows = size.whole(50, 10), 36
    lab.declared(TAIL, wide.text(TAIL))
    points: list[tuple[float, float]] = []
    with lab.running(TAIL):
        wide.fill(lab, TAIL, keys, range(windows), "a")
        client = Client(lab.settings.ports.api)
        for seqs in (10, 100, 400) if not size.quick else (5, 20):
            _lengthened(lab, client, seqs)
            wide.covered_n(lab, client, TAIL)
            points.append((status(client, TAIL)["head"]["seq"], _asked(lab, size, TAIL, keys, windows, found)))
    lab.drop(TAIL)
    _exponent(found, "answer by micro-batches of the tail", points, 0.1)


def _lengthened(lab: Lab, client: Client, seqs: int) -> None:
    """Send one event after the other until the ledger has so many rows."""
    until, sent = time.monotonic() + 240, 0
    with EventProducer(lab.settings.kafka_bootstrap, linger_ms=0) as producer:
        while status(client, TAIL)["head"]["seq"] < seqs:
            if time.monotonic() > until:
                raise Failed(f"the tail did not reach {seqs} micro-batches within 240 s")
            producer.send_all(f"{TAIL}-events", wide.records(1, range(1), f"s{seqs}-{sent}"))
            sent += 1
            time.sleep(0.02)


def _asked(lab: Lab, size: Size, name: str, keys: int, windows: int, found: Result) -> float:
    """Return the median latency of the newest rows of single keys, each merged anew by another key and limit."""
    paths = [
        view(name, wide.VIEW, f"key=k{k:05d}&from={wide.at(windows - 6)}Z&limit={6 + more}")
        for more in range(200)
        for k in range(keys)
    ]
    one = load(
        lab, {"port": lab.settings.ports.api, "paths": paths, "viewers": 4, "seconds": size.of(8, 2), "rate": 100}
    )
    if set(one["statuses"]) != {"200"}:
        raise Failed(f"{name}: statuses {json.dumps(one['statuses'])}")
    told = stats.summary(one["latencies_s"])
    found.samples.append({"dataset": name, "windows": windows, **told})
    return told["p50"]


def _exponent(found: Result, what: str, points: Sequence[tuple[float, float]], most: float) -> None:
    line = stats.exponent(points)
    if line is None:
        raise Failed(f"{what}: fewer than two sizes")
    small = points[0]
    found.lines[what] = [(x / small[0], y / small[1]) for x, y in points]
    between = "" if line.half is None else f"95 % interval ±{line.half:.2f}; "
    sizes = ", ".join(chain.from_iterable((f"{x:,.0f}: {y * 1000:.1f} ms",) for x, y in points))
    found.rows.append(
        Row(f"{what}: exponent b", "", line.slope, target=Target("product", "at most", most), note=f"{between}{sizes}")
    )
