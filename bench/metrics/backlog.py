"""How fast a backlog is read when nothing else runs, beside the noop sink: what the engine can, without the generator's core."""

from __future__ import annotations

import json
import time
from typing import Any

from bench import events, stats
from bench.lab import CHECKOUT, Client, Failed, Lab, covered, eventually, status
from bench.results import Result, Row, Size, Target
from bench.slices import SEED, WINDOWED, Braid, Numbers, measured
from speed_layer.stream import MAX_OFFSETS
from stack import up as stack
from stack.layers import layers

NAME = "behind"


def run(lab: Lab, size: Size) -> Result:
    """Stop a stream, fill its topic, and let it, and after it a noop query, read what is there."""
    found = Result("backlog", "Backlog: events per second, nothing else running", "events/s")
    lab.declared(NAME)
    with lab.running(NAME):
        arm, numbers = Braid(lab, NAME), Numbers()
        measured(lab, arm, size.of(2_500, 250), size.of(15, 5), "warm", numbers)
        try:
            _read(lab, size, found, arm, numbers)
        except Failed as why:
            found.failed("backlog read", why)
    lab.drop(NAME)
    return found


def _read(lab: Lab, size: Size, found: Result, arm: Braid, numbers: Numbers) -> None:
    """Read it by the stream, and after it by a noop query."""
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
    found.bars = {"braid": ours, "noop sink": noop}
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
