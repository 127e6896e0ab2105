"""Where a micro-batch's time goes, and an answer's: Spark's phases, Braid's own steps, the noop sink beside; the API by function.

Spark tells of each trigger: `latestOffset` (asking Kafka for its ends), `getBatch`, `queryPlanning`, `walCommit` (writing the
range), `addBatch` (everything that Braid does) and `commitOffsets`. Within `addBatch` the job measures its own stages, and
the look-up of ids is timed apart. What is left is the way between Python and the JVM, and both are in `computed`.
"""

from __future__ import annotations

import cProfile
import io
import json
import pstats
import time
from typing import Any

from bench import events, stats
from bench.lab import CHECKOUT, Failed, Lab, medians, say, view
from bench.results import Result, Row, Size, Target
from bench.slices import WARM, Braid, Numbers, measured, warmed
from serving import wiring
from speed_layer.stream import MAX_OFFSETS

NAME = "profiled"
STEPS = {
    "wal": "range read from the checkpoint",
    "computed": "the action: Kafka, JSON, rows as Arrow to the driver",
    "known": "look-up of the ids",
    "folded": "fold, alerts judged, counts checked",
    "fragments": "fragments to Cassandra",
    "alerts": "alerts to Cassandra",
    "written": "dead letters to Cassandra",
    "projected": "waiting for the readable tables of the micro-batch before",
    "committed": "ledger, one compare-and-set",
    "put": "ids put into LMDB",
}
SPARK = ("latestOffset", "getBatch", "queryPlanning", "walCommit", "addBatch", "commitOffsets")
_REQUESTS = 300


def run(lab: Lab, size: Size) -> Result:
    """Profile one stream at 5,000 events/s, the same query into nothing at the same rate, and merged answers."""
    found = Result("profile", "Where a micro-batch's time goes, medians", "ms")
    rate, numbers = 5_000, Numbers()
    file = lab.where / "timings"
    lab.declared(NAME)
    with lab.running(NAME, instrumented={"BENCH_TIMINGS": str(file)}):
        arm = Braid(lab, NAME)
        warmed(lab, size, arm, rate, numbers)
        skip = len(file.read_text("utf-8").splitlines())
        one = measured(lab, arm, rate, size.of(40, 8), "profile", numbers)
        time.sleep(2)
        lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()[skip:]]
        if one.uncounted:
            raise Failed(one.uncounted)
        _steps(found, lines, rate)
        _answers(lab, found, size)
        took = [line["spark_ms"]["triggerExecution"] for line in lines if "spark_ms" in line]
    _noop(lab, size, found, numbers, rate, took)
    lab.drop(NAME)
    return found


def _steps(found: Result, lines: list[dict[str, Any]], rate: int) -> None:
    own = [
        line["stages"] | {"known": line["known"], "folded": line["stages"].get("folded", 0.0) - line["known"]}
        for line in lines
        if "stages" in line
    ]
    spark = [line["spark_ms"] for line in lines if "spark_ms" in line]
    if not own or not spark:
        raise Failed("no micro-batch was timed")
    found.samples += lines
    mine, theirs = medians(own), medians(spark)
    whole = theirs["triggerExecution"]
    rows = stats.quantile([line["rows"] for line in lines if "rows" in line], 0.5)
    found.rows.append(
        Row(
            f"trigger to trigger, {rate:,} events/s",
            "ms",
            whole,
            note=f"{len(own)} micro-batches, {rows:,.0f} records each in the middle",
        )
    )
    for name in SPARK:
        if name in theirs:
            found.rows.append(
                Row(f"Spark: {name}", "ms", theirs[name], note=f"{theirs[name] / whole:.0%}".replace("%", " %"))
            )
    for name, what in STEPS.items():
        if name in mine:
            ms, p99 = mine[name] * 1000, stats.quantile([one[name] for one in own if name in one], 0.99) * 1000
            found.rows.append(
                Row(f"within addBatch: {what}", "ms", ms, note=f"p99 {p99:.0f} ms; {ms / whole:.0%}".replace("%", " %"))
            )
            found.bars[f"braid {what}"] = ms
    for name in SPARK:
        if name != "addBatch" and name in theirs:
            found.bars[f"Spark {name}"] = theirs[name]


def _noop(lab: Lab, size: Size, found: Result, numbers: Numbers, rate: int, took: list[float]) -> None:
    """Send the same load to a topic that a noop query reads."""
    topic = f"{NAME}-events"
    spec = {"topic": topic, "starting": "latest", "max_offsets": MAX_OFFSETS, "dataset": NAME, "declaration": events.declaration(CHECKOUT, NAME),
            "checkpoint": str(lab.where / "checkpoint-noop-profile")}  # fmt: skip
    load = {"bootstrap": lab.settings.kafka_bootstrap, "topic": topic, "seed": 7, "rate": rate, "probes": False}
    with lab.process("bench.arms.spark", "noop", json.dumps(spec)) as noop:
        noop.hear()
        warm_s = sum(seconds for *_, seconds in WARM)
        for run_, seconds in (("noop-warm", size.of(warm_s, 5)), ("noop", size.of(30, 8))):
            noop.heard()
            more = {"first": numbers.take(topic, int(rate * seconds)), "seconds": seconds, "run": run_}
            with lab.process("bench.generator", json.dumps(load | more)) as generator:
                generator.hear(300)
                generator.tell("go")
                generator.hear(seconds * 3 + 60)
        batches = [b for line in noop.heard() for b in line["batches"] if b["rows"]]
    if not batches:
        raise Failed("the noop query read nothing")
    found.samples += [{"arm": "noop", **b} for b in batches]
    theirs = [b["ms"]["triggerExecution"] for b in batches]
    mine, other = stats.quantile(took, 0.5), stats.quantile(theirs, 0.5)
    found.rows.append(
        Row(
            "micro-batch",
            "ms",
            mine,
            other,
            "the same query into the noop sink",
            stats.ratio([mine], [other]),
            Target("ratio", "at most", 2.0),
        )
    )
    found.bars["noop sink, whole"] = other


def _answers(lab: Lab, found: Result, size: Size) -> None:
    """Profile merged answers within this process: the product's own application over the running stores."""
    application = wiring.application(lab.settings)
    client = application.test_client()
    try:
        until = time.monotonic() + 60
        path = view(NAME, "realtime_ndvi_by_class")
        while client.get(path).status_code != 200:
            if time.monotonic() > until:
                raise Failed("the profiled API had no answer within 60 s")
            time.sleep(0.2)
        profiler, times = cProfile.Profile(), []
        requests = size.whole(_REQUESTS, 40)
        for k in range(requests):
            asked = f"{path}?limit={k + 1}"
            began = time.perf_counter()
            profiler.runcall(client.get, asked)
            times.append(time.perf_counter() - began)
    finally:
        application.extensions["braid"].stop()
    out = io.StringIO()
    table = pstats.Stats(profiler, stream=out)
    total = sum(times)
    parts: dict[str, float] = {}
    for (filename, _, _), (_, _, own_s, _, _) in table.stats.items():  # type: ignore[attr-defined]
        place = (
            filename.partition("/src/")[2] or filename.partition("site-packages/")[2].split("/")[0] or "Python itself"
        )
        parts[place] = parts.get(place, 0.0) + own_s
    say(f"profile: {requests} merged answers, {total / requests * 1000:.2f} ms each under the profiler")
    for place, own_s in sorted(parts.items(), key=lambda item: -item[1])[:8]:
        share = f"{own_s / total:.0%}".replace("%", " %")
        found.rows.append(
            Row(
                f"API, merged answer: {place}",
                "ms",
                own_s / requests * 1000,
                note=f"{share}, own time under the profiler",
            )
        )
