"""How cost grows: a micro-batch with the ids ever seen, an answer with the history and with the tail. b of cost = a·x^b."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from bench import events, seen, stats, wide
from bench.lab import Client, Failed, Lab, eventually, medians, say, status, view
from bench.metrics.api import load
from bench.results import Result, Row, Size, Target
from bench.slices import SEED, Warm, measured, warm
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
    """Run one stream at 5,000 events/s whose micro-batches look into files with 1, 10 and 100 million further ids in turn."""
    rate = size.whole(5_000, 500)
    sizes = (10**6, 10**7, 10**8) if not size.quick else (10**5, 10**6)
    stream = warm(lab, size, rate)
    for ids in sizes:
        _into(lab, stream, ids)
        say(f"growth: {ids:,} ids: file {_file_mb(stream, ids):,.0f} MB")
    seen.ask(stream.ids, sizes)
    batches: list[Mapping[str, Any]] = []
    for turn in range(size.whole(15, 1)):
        one = measured(lab, stream.arm, rate, size.of(10, 6), f"ids-{turn}", stream.numbers)
        found.samples.append({"sizes": sizes, **one.plain()})
        if one.void:
            found.void.append(f"ids ever seen: {one.void}")
        else:
            batches += one.batches
    smallest, *_ = sizes
    blocks = by_round(sizes, batches)
    middle = {ids: stats.quantile(list(blocks[ids].values()), 0.5) for ids in sizes if blocks[ids]}
    points: list[tuple[float, float]] = []
    for ids in sizes:
        ratio = beside(blocks[ids], blocks[smallest])
        if ratio is None:
            found.failed(f"micro-batch, {ids:,} ids in the file", "no round in which it and the smallest size count")
            continue
        phases = medians(
            [b["phases"] for b in batches if seen.which(sizes, b["seq"]) == ids and seen.settled(b["seq"])]
        )
        note = (
            f"look-up and fold {phases.get('folded', 0) * 1000:.1f} ms; {ratio.pairs} rounds; file {_file_mb(stream, ids):,.0f} MB; "
            "the ids were put in order, which fills pages"
        )
        found.rows.append(
            Row(
                f"micro-batch, {ids:,} ids in the file",
                "s",
                middle[ids],
                middle[smallest],
                f"{smallest:,} ids",
                ratio,
                Target("ratio", "at most", 1.15),
                note,
            )
        )
        points.append((ids, middle[smallest] * ratio.middle))
    _exponent(found, "micro-batch by ids ever seen", points, 0.05)


def by_round(sizes: Sequence[int], batches: Iterable[Mapping[str, Any]]) -> dict[int, dict[int, float]]:
    """Return by size and round the median seconds of its micro-batches, those just after a turn left out.

    How fast Java's code and a machine's memory are moves within half a minute, by more than ids do, and a fixed spin does
    not show it. A round takes three seconds.
    """
    found: dict[int, dict[int, list[float]]] = {ids: {} for ids in sizes}
    for batch in batches:
        seq = batch["seq"]
        if seen.settled(seq):
            found[seen.which(sizes, seq)].setdefault(seen.a_round(sizes, seq), []).append(batch["seconds"])
    return {ids: {n: stats.quantile(took, 0.5) for n, took in rounds.items()} for ids, rounds in found.items()}


def beside(ours: Mapping[int, float], least: Mapping[int, float]) -> stats.Ratio | None:
    """Return the ratios round by round; None when there is no round of both."""
    both = [n for n in ours if n in least]
    return stats.ratio([ours[n] for n in both], [least[n] for n in both])


def _file_mb(stream: Warm, ids: int) -> float:
    return (seen.folder(stream.ids, ids) / "data.mdb").stat().st_blocks * 512 / 1e6


def _into(lab: Lab, stream: Warm, ids: int) -> None:
    """Let the stream look into the file with so many further ids: a micro-batch turns to it, so one event is sent."""
    seen.ask(stream.ids, (ids,))
    topic = stream.arm.topic
    one = events.load(SEED, stream.numbers.take(topic, 1), 1)
    with EventProducer(lab.settings.kafka_bootstrap) as producer:
        producer.send_all(topic, list(zip(one.keys, one.raws, strict=True)))
    stream.arm.reference.add(one.reference)
    eventually(f"{ids:,} further ids", lambda: seen.looks_into(stream.ids) == ids, 900.0, 0.2)


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
