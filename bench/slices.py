"""A slice: an arm, a load at one rate for some seconds, what was seen meanwhile, and whether it counts.

It counts when the load kept its schedule, the arm's answer equals the reference in the end, and the machine was steady.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bench import events, noise, stats
from bench.events import PROBE, Reference
from bench.lab import (
    Client,
    Failed,
    Lab,
    Process,
    Watcher,
    covered,
    eventually,
    free_port,
    micro_batches,
    say,
    status,
    view,
)
from bench.results import Size
from braid.settings import LOOPBACK

ALL_TIME, WINDOWED = "landcover_aggregates", "realtime_ndvi_by_class"
POLL_S = 0.01
SCREEN_S = 5.0  # how often the earlier dashboard asked
SEED = 7
SETTLE_S = 60.0
# at a tenth of the rate, at the rate itself and at four times as much, by seconds: Java compiles what has run often, a quiet
# stream runs more micro-batches, and large ones take another way (DECISIONS 40)
WARM = (("quiet", 0.1, 180.0), ("warm", 1.0, 60.0), ("large", 4.0, 20.0))
NOISY = "the machine was not steady"
STREAM = "fresh"


class Arm(Protocol):
    """One way from a topic to an answer."""

    name: str
    topic: str
    exact: bool
    reference: Reference

    def awake(self) -> AbstractContextManager[None]:
        """Let it run meanwhile; one that runs always does nothing here."""
        ...

    def probes(self) -> tuple[int, dict[str, int] | None]:
        """Return how many probes an answer counts now, and the offsets it covers where it says so."""
        ...

    def wrong(self) -> str:
        """Return where the answer differs from the reference, empty when nowhere."""
        ...


@dataclass
class Braid:
    """The product."""

    lab: Lab
    dataset: str
    name: str = "braid"
    exact: bool = True
    reference: Reference = field(default_factory=Reference)

    def __post_init__(self) -> None:
        """Open the connection that is kept."""
        self.topic = f"{self.dataset}-events"
        self.client = Client(self.lab.settings.ports.api)
        self._path = view(self.dataset, ALL_TIME, f"class_name={PROBE}")

    def awake(self) -> AbstractContextManager[None]:
        """It runs always."""
        return nullcontext()

    def probes(self) -> tuple[int, dict[str, int] | None]:
        """Return how many probes the answer counts, and its offsets."""
        found = self.client.get(self._path)
        n = sum(int(row["n"]) for row in found["data"])
        return n, found["meta"]["as_of"]["offsets"]

    def wrong(self) -> str:
        """Compare every state of the windowed view, and the counts of the ledger, once the answer covers the topic."""
        answer = covered(self.lab, Client(self.lab.settings.ports.api), self.dataset, WINDOWED, self.topic, SETTLE_S)
        if told := stats.differences(events.states_of(answer["data"]), self.reference.states):
            return told
        counts = status(Client(self.lab.settings.ports.api), self.dataset)["counts"]
        expected = {"good": self.reference.good, "copies": self.reference.copies, "dead": self.reference.dead}
        return stats.differences({name: counts[name] for name in expected}, expected)


@dataclass
class Route:
    """An arm that counts into a table of its own, behind the same server."""

    port: int
    topic: str
    name: str
    exact: bool
    reference: Reference = field(default_factory=Reference)
    process: Process | None = None  # stands still while others are measured

    def __post_init__(self) -> None:
        """Open the connection that is kept."""
        self.client = Client(self.port)

    def awake(self) -> AbstractContextManager[None]:
        """Let it run meanwhile."""
        return self.process.awake() if self.process else nullcontext()

    def counted(self, class_name: str) -> int:
        """Return how many events of a class the table holds."""
        return int(self.client.get(f"/n?class_name={class_name.replace(' ', '%20')}")["n"])

    def probes(self) -> tuple[int, dict[str, int] | None]:
        """Return how many probes the table counts."""
        return self.counted(PROBE), None

    def wrong(self) -> str:
        """Compare the counts of every class."""
        expected = {name: state[0] for name, state in self.reference.by_class().items()}

        def ask() -> str | None:
            found = stats.differences({name: self.counted(name) for name in expected}, expected)
            self.last = found
            return "equal" if not found else None

        try:
            eventually("counts are those of the reference", ask, SETTLE_S if self.exact else 10.0, 0.3)
        except Failed:
            return self.last or "no answer"
        return ""


@contextmanager
def relay(lab: Lab, topic: str, table: str = "relay") -> Iterator[Route]:
    """Run the relay and its route over a topic."""
    spec = _spec(lab, topic, table)
    with lab.process("bench.arms.relay", json.dumps(spec)) as process, _route(lab, table) as port, process.in_turns():
        yield Route(port, topic, "relay", exact=True, process=process)


@contextmanager
def before(lab: Lab, topic: str, trigger: str = "2 seconds", table: str = "before") -> Iterator[Route]:
    """Run the earlier system's set-up and a route over a topic."""
    spec = _spec(lab, topic, table) | {
        "trigger": trigger,
        "checkpoint": str(lab.where / f"checkpoint-{table}"),
        "starting": "earliest",
    }
    arm = lab.process("bench.arms.spark", "before", json.dumps(spec))
    with arm as process, _route(lab, table) as port, process.in_turns():
        yield Route(port, topic, "before", exact=False, process=process)


def _spec(lab: Lab, topic: str, table: str) -> dict[str, Any]:
    s = lab.settings
    return {
        "bootstrap": s.kafka_bootstrap, "topic": topic, "table": table,
        "cassandra_host": s.cassandra_host, "cassandra_port": s.cassandra_port,
    }  # fmt: skip


@contextmanager
def _route(lab: Lab, table: str) -> Iterator[int]:
    env = {
        "BENCH_CASSANDRA_HOST": lab.settings.cassandra_host,
        "BENCH_CASSANDRA_PORT": str(lab.settings.cassandra_port),
        "BENCH_TABLE": table,
    }
    with served(lab, "bench.arms.route:application()", f"/n?class_name={PROBE}", env) as port:
        yield port


@contextmanager
def served(lab: Lab, application: str, ready: str, env: dict[str, str]) -> Iterator[int]:
    """Run an application under the gunicorn that serves Braid: its worker, its threads, its settings."""
    port = free_port()
    config = str(lab.root / "src" / "serving" / "gunicorn_conf.py")
    words = ("--config", config, "--bind", f"{LOOPBACK}:{port}", application)
    with lab.process("gunicorn", *words, env=env):
        client = Client(port)
        eventually(f"{application} answers", lambda: client.get(ready), 60.0)
        yield port


@dataclass
class Slice:
    """What one slice gave.

    Attributes
    ----------
    void : why its numbers are none; empty when they are some
    unsteady : how the machine differed from what it mostly was; empty when it did not
    turn : with which slices of other arms it is compared: those of the same turn, minutes apart at most
    """

    arm: str
    rate: float
    ages_s: list[float]
    load: dict[str, Any]
    batches: list[dict[str, Any]]
    lags: list[tuple[float, float]] = field(default_factory=list)
    void: str = ""
    spin_s: float = 0.0
    turn: int = 0
    unsteady: str = ""

    @property
    def uncounted(self) -> str:
        """Why its numbers do not stand by themselves; beside another slice of its turn they may (`between`)."""
        return self.void or self.unsteady

    def plain(self) -> dict[str, Any]:
        """Return it for the file of raw samples."""
        shown = {k: v for k, v in self.load.items() if k not in {"probes_due_s", "probe_offsets", "reference"}}
        return {
            "arm": self.arm, "rate": self.rate, "ages_s": [round(a, 4) for a in self.ages_s], "load": shown,
            "micro_batches": self.batches, "lags": self.lags, "void": self.void, "spin_s": self.spin_s,
            "turn": self.turn, "unsteady": self.unsteady,
        }  # fmt: skip


def measured(
    lab: Lab, arm: Arm, rate: float, seconds: float, run: str, numbers: Numbers, *, lag: bool = False
) -> Slice:
    """Send at a rate into an arm's topic, ask for the probes meanwhile, and compare the answer in the end."""
    count = int(rate * seconds)
    first = numbers.take(arm.topic, count)
    spec = {
        "bootstrap": lab.settings.kafka_bootstrap, "topic": arm.topic, "seed": SEED, "first": first,
        "rate": rate, "seconds": seconds, "run": f"{arm.name}-{run}",
    }  # fmt: skip
    with lab.process("bench.generator", json.dumps(spec)) as generator, arm.awake():
        generator.hear(300.0)
        held = arm.probes()[0]
        with (
            noise.Spins() as spins,
            _batches(lab, arm) as batches,
            Watcher(arm.probes, POLL_S) as seen,
            _lags(lab, arm, lag) as lags,
        ):
            generator.tell("go")
            told = generator.hear(seconds * 3 + 120)
            wanted = held + len(told["probes_due_s"])
            until = time.monotonic() + 30
            while time.monotonic() < until and not (seen.found and seen.found[-1][1][0] >= wanted):
                time.sleep(0.05)
        arm.reference.add(events.reference(told["reference"]))
        void = _void(arm, told, seen, held)
    found = Slice(
        arm.name, rate,
        stats.ages(told["probes_due_s"], [(at, n - held) for at, (n, _) in seen.found]),
        told, [b for _, b in batches.found], [(at, events_) for at, events_ in lags.found],
    )  # fmt: skip
    found.spin_s = spins.mean_s
    lab.spins.append(found.spin_s)
    found.void = void
    unsteady = stats.moved(lab.spins, found.spin_s)
    found.unsteady = f"{NOISY}: {unsteady}" if unsteady and lab.strict else ""
    return found


def between(ours: Iterable[Slice], theirs: Iterable[Slice], part: float) -> stats.Ratio | None:
    """Return the ratios of a quantile of freshness turn by turn; None when there is no pair.

    Two slices of a turn are a pair when the machine was the same in both, be it another one than in the rest of the run: a
    strange machine is strange to both arms. A slice is in as many pairs as the other arm has slices of its turn.
    """
    others = [s for s in theirs if s.ages_s and not s.void]
    pairs = [(s, o) for s in ours if s.ages_s and not s.void for o in others if o.turn == s.turn]
    alike = [pair for pair in pairs if not stats.moved([pair[1].spin_s], pair[0].spin_s)]
    ages = [[stats.quantile(s.ages_s, part) for s in pair] for pair in alike]
    return stats.ratio([a for a, _ in ages], [b for _, b in ages])


def middle(slices: Iterable[Slice], part: float) -> float | None:
    """Return the median over slices of a quantile of their freshness; None when no probe was seen."""
    found = [stats.quantile(s.ages_s, part) for s in slices if s.ages_s]
    return stats.quantile(found, 0.5) if found else None


def _void(arm: Arm, told: dict[str, Any], seen: Watcher, held: int) -> str:
    late = told["seconds"] / told["planned_s"] - 1 if told["planned_s"] else 0.0
    if late > stats.LATE:
        return f"the load took {late:.1%} longer than its schedule: this machine does not send that fast beside the arm"
    wrong = arm.wrong()
    if wrong and arm.exact:
        return wrong
    return _uncovered(arm.topic, told["probe_offsets"], seen, held)


def _uncovered(topic: str, offsets: list[int], seen: Watcher, held: int) -> str:
    """Return why an answer's offsets do not cover exactly the probes that it counts."""
    for _, (n, ends) in seen.found:
        if ends is None:
            continue
        covered_ = sum(offset < ends[f"{topic}:0"] for offset in offsets)
        if n - held != covered_:
            return f"an answer counts {n - held} probes, and its offsets cover {covered_}"
    return ""


def _batches(lab: Lab, arm: Arm) -> Watcher:
    return micro_batches(lab.settings, arm.dataset) if isinstance(arm, Braid) else Watcher(lambda: None, 10.0)


def _lags(lab: Lab, arm: Arm, wanted: bool) -> Watcher:
    if not wanted or not isinstance(arm, Braid):
        return Watcher(lambda: None, 10.0)
    client = Client(lab.settings.ports.api)
    return Watcher(lambda: status(client, arm.dataset)["lag"]["events"], 1.0)


@dataclass
class Warm:
    """A stream that has run for a while, for several metrics.

    Attributes
    ----------
    ids : the file by which `bench.arms.speed` is told how many further ids the seen ids shall hold
    """

    arm: Braid
    numbers: Numbers
    ids: Path


def warm(lab: Lab, size: Size, rate: int) -> Warm:
    """Return the stream that several metrics measure one after the other, started when the first of them asks.

    A JVM goes on compiling for minutes, on the same cores: what a stream costs that runs for days shows only then.
    """
    if lab.kept is None:
        ids, held = lab.where / "ids", ExitStack()
        lab.declared(STREAM)
        held.callback(lab.drop, STREAM)
        held.enter_context(lab.running(STREAM, instrumented={"BENCH_IDS": str(ids)}))
        one = Warm(Braid(lab, STREAM), Numbers(), ids)
        lab.kept = held, one
        warmed(lab, size, one.arm, rate, one.numbers)
    kept: Warm = lab.kept[1]
    return kept


def warmed(lab: Lab, size: Size, arm: Arm, rate: float, numbers: Numbers) -> None:
    """Let a stream's JVM compile, for minutes; a trigger of one that has just started takes twice as long."""
    say(f"warming up the stream of {arm.topic}")
    for name, part, seconds in WARM:
        measured(lab, arm, rate * part, size.of(seconds, 5), name, numbers)


@dataclass
class Numbers:
    """Which numbers of events a topic has had, so that every id is new."""

    _next: dict[str, int] = field(default_factory=dict)

    def take(self, topic: str, count: int) -> int:
        """Return the first of `count` numbers that are new to a topic."""
        first = self._next.get(topic, 0)
        self._next[topic] = first + count
        return first
