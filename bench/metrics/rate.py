"""The rate that is sustained: steps of load with the lag's slope; and how fast a backlog is read, beside the noop sink."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from bench import events, stats
from bench.lab import CHECKOUT, Client, Failed, Lab, covered, eventually, say, status
from bench.results import Result, Row, Size, Target
from bench.slices import SEED, STREAM, WINDOWED, Braid, Numbers, Slice, measured, warm
from speed_layer.stream import MAX_OFFSETS
from stack import up as stack
from stack.layers import layers

NAME = "behind"
# a step is sustained unless the lag surely (95 %) grows by more than this part of the rate, and while it is below so much traffic
SLOPE, LAG_S = 0.01, 5.0


def run(lab: Lab, size: Size) -> Result:
    """Climb; then stop the stream, fill the topic, and let the stream, and after it a noop query, read it."""
    found = Result("rate", "Sustained rate: events per second with bounded lag, exact", "events/s")
    steps = (5_000, 10_000, 20_000, 40_000) if not size.quick else (500, 1_000)
    stream, climbed = warm(lab, size, steps[0]), list[Slice]()
    for rate in steps:
        say(f"rate: {rate:,} events/s")
        one = measured(lab, stream.arm, rate, size.of(30, 8), f"{rate}", stream.numbers, lag=True)
        found.samples.append(one.plain() | {"sustained": sustained(one)[0]})
        climbed.append(one)
    _tabled(found, climbed)
    client = Client(lab.settings.ports.api)
    eventually("what the last step left is read", lambda: status(client, STREAM)["lag"]["events"] == 0, 300.0)
    lab.declared(NAME)
    with lab.running(NAME):
        arm, numbers = Braid(lab, NAME), Numbers()
        measured(lab, arm, steps[0] / 2, size.of(15, 5), "warm", numbers)
        try:
            _backlog(lab, size, found, arm, numbers)
        except Failed as why:
            found.failed("backlog read", why)
    lab.drop(NAME)
    return found


def sustained(one: Slice) -> tuple[bool, float, float]:
    """Return whether a step was sustained, the lag's slope in events/s, and the last lag in events.

    The slope is that of the second half of the step: until then the lag grows to that of a micro-batch. It goes up and down by as much
    with each of them, so a slope has an interval.
    """
    began, ended = one.load["began_s"], one.load["began_s"] + one.load["seconds"]
    lags = [(at, lag) for at, lag in one.lags if (began + ended) / 2 <= at <= ended]
    line = stats.fitted(lags)
    if one.void or line is None or line.half is None:
        return False, line.slope if line else 0.0, lags[-1][1] if lags else 0.0
    grows = line.slope - line.half > SLOPE * one.rate
    return not grows and lags[-1][1] <= LAG_S * one.rate, line.slope, lags[-1][1]


def _tabled(found: Result, climbed: Sequence[Slice]) -> None:
    best = 0.0
    for one in climbed:
        held, steep, lag = sustained(one)
        best = one.rate if held else best
        note = (
            one.void
            or f"lag slope {steep:+,.0f} events/s, last {lag:,.0f}; generator {one.load['cpu_share']:.0%} of a core".replace(
                "%", " %"
            )
        )
        found.rows.append(
            Row(
                f"step of {one.rate:,.0f} events/s: {'sustained' if held else 'not sustained'}",
                "events/s",
                one.rate if held else None,
                note=note,
            )
        )
        if one.void:
            found.void.append(f"{one.rate:,.0f} events/s: {one.void}")
        began = one.load["began_s"]
        found.lines[f"braid {one.rate:,.0f}/s"] = [(at - began, lag) for at, lag in one.lags if at >= began]
    found.across, found.unit = "seconds", "events of lag"
    found.rows.append(
        Row(
            "highest sustained step",
            "events/s",
            best or None,
            target=Target("product", "at least", 40_000),
            note="" if best else "none was sustained",
        )
    )


def _backlog(lab: Lab, size: Size, found: Result, arm: Braid, numbers: Numbers) -> None:
    """How fast a full topic is read when nothing else runs: what the engine can, without the generator's core."""
    count, fill = size.whole(1_000_000, 240_000), size.whole(40_000, 30_000)
    program = next(p for p in layers(lab.settings, [NAME]) if p.name.startswith("speed-"))
    stack.hold(lab.settings, program.name)
    start = lab.ends(arm.topic)
    spec = {
        "bootstrap": lab.settings.kafka_bootstrap, "topic": arm.topic, "seed": SEED, "first": numbers.take(arm.topic, count),
        "rate": fill, "seconds": count / fill, "run": "backlog", "probes": False,
    }  # fmt: skip
    with lab.process("bench.generator", json.dumps(spec)) as generator:
        generator.hear(300)
        generator.tell("go")
        told = generator.hear(600)
    arm.reference.add(events.reference(told["reference"]))
    ours = _drained(lab, program, count)
    if wrong := stats.differences(
        events.states_of(covered(lab, Client(lab.settings.ports.api), NAME, WINDOWED, arm.topic)["data"]),
        arm.reference.states,
    ):
        found.failed("backlog", wrong)
        return
    stack.hold(lab.settings, program.name)
    noop = _noop(lab, arm, start, count)
    found.samples.append({"backlog": count, "braid_per_s": ours, "noop_per_s": noop})
    found.rows.append(
        Row(
            "backlog read",
            "events/s",
            ours,
            noop,
            "the same query into the noop sink",
            stats.ratio([ours], [noop]),
            Target("ratio", "at least", 0.5),
        )
    )


def _drained(lab: Lab, program: Any, count: int) -> float:
    """Start the stream again; return events a second from its first commit to its last."""
    client = Client(lab.settings.ports.api)
    left = status(client, NAME)["lag"]["events"]
    stack.start_again(lab.settings, program)
    marks: list[tuple[float, int]] = []

    def ask() -> bool:
        lag = status(client, NAME)["lag"]["events"]
        if not marks or lag != marks[-1][1]:
            marks.append((time.monotonic(), lag))
        return bool(lag == 0)

    eventually("the backlog is read", ask, 300.0, 0.02)
    first = next((i for i, (_, lag) in enumerate(marks) if lag < left), None)
    if first is None or marks[first][1] == 0:
        raise Failed(f"backlog of {count}: read within one micro-batch, which is no rate; take more")
    return (marks[first][1] - marks[-1][1]) / (marks[-1][0] - marks[first][0])


def _noop(lab: Lab, arm: Braid, start: dict[int, int], count: int) -> float:
    """Let the same query read the same offsets into nothing; return events a second, the first micro-batch left out."""
    starting = json.dumps({arm.topic: {str(p): at for p, at in start.items()}})
    spec = {
        "topic": arm.topic, "starting": starting, "max_offsets": MAX_OFFSETS, "dataset": NAME,
        "declaration": events.declaration(CHECKOUT, NAME), "checkpoint": str(lab.where / "checkpoint-noop"),
    }  # fmt: skip
    batches: list[dict[str, Any]] = []
    with lab.process("bench.arms.spark", "noop", json.dumps(spec)) as process:
        until = time.monotonic() + 300
        while sum(b["rows"] for b in batches) < count:
            if time.monotonic() > until:
                raise Failed("noop: did not read the backlog within 300 s")
            batches += process.hear()["batches"]
    full = [b for b in batches[1:] if b["rows"]]
    if not full:
        raise Failed("noop: the backlog fitted into one micro-batch; take more")
    return float(sum(b["rows"] for b in full) / (sum(b["ms"]["triggerExecution"] for b in full) / 1000))
