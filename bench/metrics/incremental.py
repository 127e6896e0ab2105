"""The incremental batch: its cost must follow the new records and not the history.

The same number of records is archived and added to a generation, again and again, after one history and after one of ten
times the size, in turn. Every run is a whole one: ids looked up, folded, audited, parts merged and written, published.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import events, master, stats
from bench.lab import CHECKOUT, Failed, Lab, Process, say
from bench.metrics.batch import states_in, windows_of
from bench.results import Result, Row, Size, Target

NAME = "grown"


def run(lab: Lab, size: Size) -> Result:
    """Add the same number of new records to two lengths of history, in turn."""
    found = Result("incremental", "Incremental batch: the same new records after ten times the history", "s")
    found.across = "records of history, millions"
    new, short = size.whole(250_000, 10_000), size.whole(500_000, 20_000)
    with ExitStack() as stack:
        arms = [stack.enter_context(_started(lab, history)) for history in (short, short * 10)]
        for turn in range(size.whole(9, 2)):
            # whichever comes first finds the machine as the other left it
            for arm in arms if turn % 2 else reversed(arms):
                arm.add(new)
        for arm in arms:
            arm.finish()
    told = [arm.told() for arm in arms]
    found.samples += told
    tabled(found, told, new)
    return found


@dataclass
class Arm:
    """A process with a history of its own, which adds to it when it is told to."""

    process: Process
    history: int
    out: Path
    runs: list[dict[str, Any]] = field(default_factory=list)

    def add(self, new: int) -> None:
        """Let it archive some records and run; the run must have read them and no other."""
        self.process.tell(str(new))
        one = self.process.hear(600.0)
        if (one["mode"], one["read"]) != ("incremental", new):
            raise Failed(f"expected an incremental run that reads {new:,} records, got {one}")
        self.runs.append(one)
        say(f"incremental: {new:,} more after {self.history:,} in {one['seconds']:.2f} s")

    def finish(self) -> None:
        """Hold what it serves against the reference."""
        self.process.tell("0")
        self.process.hear(120.0)
        held = self.runs[-1]["records"]
        if wrong := stats.differences(states_in(self.out), windows_of(master.reference(held))):
            raise Failed(f"after {len(self.runs) - 1} incremental runs over {held:,} records: {wrong}")

    def told(self) -> dict[str, Any]:
        """Return what it measured."""
        return {"history": self.history, "full": self.runs[0], "runs": self.runs[1:]}


@contextmanager
def _started(lab: Lab, history: int) -> Iterator[Arm]:
    root, out = lab.where / f"grown-{history}", lab.where / f"grown-{history}.json"
    text = events.declaration(CHECKOUT, NAME)
    spec = {"root": str(root), "dataset": NAME, "declaration": text, "history": history, "out": str(out)}
    try:
        with lab.process("bench.arms.incremental", json.dumps(spec)) as process:
            full = process.hear(1200.0)
            say(f"incremental: full run over {history:,} records in {full['seconds']:.2f} s")
            yield Arm(process, history, out, [full])
    finally:
        master.forget(root, NAME)


def tabled(found: Result, told: list[dict[str, Any]], new: int) -> None:
    """Put the table's rows and the chart's lines into a result: of the first run, which collects the ids, a row of its own."""
    small, large = ([r["seconds"] for r in one["runs"][1:]] for one in told)
    found.rows.append(
        Row(
            f"incremental run, {new:,} new records, 10 × the history", "s", stats.quantile(large, 0.5),
            stats.quantile(small, 0.5), "a tenth of the history", stats.ratio(large, small), Target("ratio", "at most", 1.2),
        )
    )  # fmt: skip
    firsts, fulls = [one["runs"][0]["seconds"] for one in told], [one["full"]["seconds"] for one in told]
    for what, (a, b), note in (
        ("the first after a full run", firsts, "collects the ids of the history, once"),
        ("full run over the history", fulls, "the first of its process, so cold"),
    ):
        # measured once each: beside one another, but no ratio is claimed of them
        found.rows.append(Row(what, "s", b, a, "a tenth of the history", note=note))
    at = [one["history"] / 1e6 for one in told]
    middle = [stats.quantile(small, 0.5), stats.quantile(large, 0.5)]
    found.lines |= {
        "incremental run": list(zip(at, middle, strict=True)),
        "full run": list(zip(at, fulls, strict=True)),
    }
