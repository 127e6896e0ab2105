"""How fast a backlog is read when nothing else runs, beside the noop sink: what the engine can, without the generator's core.

Stream and noop query are warm and stand still (SIGSTOP) while the topic is filled, and then read the same records one after the other,
now the stream first and now the query: else what Cassandra does after a stream's writes would meet the query every time.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from bench import events, stats
from bench.lab import CHECKOUT, Client, Failed, Lab, Process, eventually, say, status
from bench.results import Result, Row, Size, Target
from bench.slices import SEED, Braid, Numbers, measured
from speed_layer.stream import MAX_OFFSETS
from stack.status import statuses

NAME = "behind"
FILL = 120_000  # events/s; what it takes must stay below the minutes after which a stream without a heartbeat is killed
WARM = 2  # turns until the noop query, which has nothing to read in between, is as fast as it gets


def run(lab: Lab, size: Size) -> Result:
    """Fill the topic of a stream that stands still, and let it, and after it a noop query, read what is there; in turns."""
    found = Result("backlog", "Backlog: events per second, nothing else running", "events/s")
    lab.declared(NAME)
    with lab.running(NAME):
        arm, numbers = Braid(lab, NAME), Numbers()
        measured(lab, arm, size.of(2_500, 250), size.of(15, 5), "warm", numbers)
        query = json.dumps(_query(lab, arm))
        with lab.process("bench.arms.spark", "noop", query) as process, process.in_turns() as noop:
            try:
                _turns(lab, size, found, arm, numbers, noop)
            except Failed as why:
                found.failed("backlog read", why)
    lab.drop(NAME)
    return found


def _query(lab: Lab, arm: Braid) -> dict[str, object]:
    """Return what the noop query is told: Braid's own, from the topic's end as it is now."""
    starting = json.dumps({arm.topic: {str(p): at for p, at in lab.ends(arm.topic).items()}})
    return {
        "topic": arm.topic, "starting": starting, "max_offsets": MAX_OFFSETS, "dataset": NAME,
        "declaration": events.declaration(CHECKOUT, NAME), "checkpoint": str(lab.where / "checkpoint-noop"),
    }  # fmt: skip


def _turns(lab: Lab, size: Size, found: Result, arm: Braid, numbers: Numbers, noop: Process) -> None:
    """Measure turn by turn, now the stream first and now the query; the first turns warm up."""
    rates: dict[str, list[float]] = {"braid": [], "noop": []}
    count = size.whole(400_000, 240_000)
    for turn in range(WARM + size.whole(5, 1)):
        with _still(lab):
            _fill(lab, arm, numbers, count)
            theirs = _noop(noop, count) if turn % 2 else None
        ours = _drained(lab, count)
        if wrong := arm.wrong():
            raise Failed(wrong)
        if theirs is None:
            theirs = _noop(noop, count)
        found.samples.append({"turn": turn, "backlog": count, "braid_per_s": ours, "noop_per_s": theirs})
        say(f"backlog: turn {turn}: {ours:,.0f} events/s, noop {theirs:,.0f}")
        if turn >= WARM:
            rates["braid"].append(ours)
            rates["noop"].append(theirs)
    found.bars = {name: stats.quantile(held, 0.5) for name, held in rates.items()}
    found.rows.append(
        Row(
            "backlog read",
            "events/s",
            found.bars["braid"],
            found.bars["noop"],
            "the same query into the noop sink",
            stats.ratio(rates["braid"], rates["noop"]),
            Target("ratio", "at least", 0.5),
        )
    )


@contextmanager
def _still(lab: Lab) -> Iterator[None]:
    """Let the stream's programs, its JVM among them, stand still meanwhile."""
    pid = next(s.pid for s in statuses(lab.settings, []) if s.name == f"speed-{NAME}" and s.pid)
    program = psutil.Process(pid)
    everything = [program, *program.children(recursive=True)]
    for one in everything:
        one.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for one in everything:
            with suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGCONT)


def _fill(lab: Lab, arm: Braid, numbers: Numbers, count: int) -> None:
    """Send so many events into the topic."""
    spec = {
        "bootstrap": lab.settings.kafka_bootstrap, "topic": arm.topic, "seed": SEED, "first": numbers.take(arm.topic, count),
        "rate": FILL, "seconds": count / FILL, "run": "backlog", "probes": False,
    }  # fmt: skip
    with lab.process("bench.generator", json.dumps(spec)) as generator:
        generator.hear(300)
        generator.tell("go")
        told = generator.hear(600)
    arm.reference.add(events.reference(told["reference"]))


def _drained(lab: Lab, count: int) -> float:
    """Return events a second of a stream that goes on, from its first commit to its last."""
    client = Client(lab.settings.ports.api)
    marks: list[tuple[float, int]] = []

    def ask() -> bool:
        lag = status(client, NAME)["lag"]["events"]
        if not marks or lag != marks[-1][1]:
            marks.append((time.monotonic(), lag))
        return bool(lag == 0)

    eventually("the backlog is read", ask, 300.0, 0.02)
    first = max(range(len(marks)), key=lambda i: marks[i][1]) + 1  # the mark after its first micro-batch
    if first >= len(marks) or marks[first][1] == 0:
        raise Failed(f"backlog of {count}: read within one micro-batch, which is no rate; take more")
    return (marks[first][1] - marks[-1][1]) / (marks[-1][0] - marks[first][0])


def _noop(noop: Process, count: int) -> float:
    """Return events a second of the noop query that goes on, its first micro-batch left out, as with the stream."""
    with noop.awake():
        batches = [b for line in noop.heard() for b in line["batches"]]
        until = time.monotonic() + 300
        while sum(b["rows"] for b in batches) < count:
            if time.monotonic() > until:
                raise Failed("noop: did not read the backlog within 300 s")
            batches += noop.hear()["batches"]
    full = [b for b in batches if b["rows"]][1:]
    if not full:
        raise Failed("noop: the backlog fitted into one micro-batch; take more")
    return float(sum(b["rows"] for b in full) / (sum(b["ms"]["triggerExecution"] for b in full) / 1000))
