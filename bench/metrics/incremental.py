"""The incremental batch: its cost must follow the new records and not the history.

The same number of records is archived and added to a generation, again and again, after one history and after one of ten
times the size. Every run is a whole one: ids looked up, folded, audited, parts merged and written, published.
"""

from __future__ import annotations

import json
from typing import Any

from bench import events, master, stats
from bench.lab import CHECKOUT, Failed, Lab, say
from bench.metrics.batch import states_in, windows_of
from bench.results import Result, Row, Size, Target

NAME = "grown"


def run(lab: Lab, size: Size) -> Result:
    """Add the same number of new records to two lengths of history."""
    found = Result("incremental", "Incremental batch: the same new records after ten times the history", "s")
    found.across = "records of history, millions"
    new, short = size.whole(250_000, 10_000), size.whole(500_000, 20_000)
    told = [measured(lab, history, new, size.whole(5, 2)) for history in (short, short * 10)]
    found.samples += told
    tabled(found, told, new)
    return found


def measured(lab: Lab, history: int, new: int, repeats: int) -> dict[str, Any]:
    """Return what the arm says over one history; its answers are right, and every run but the first only added."""
    root, out = lab.where / "grown", lab.where / "grown.json"
    spec = {
        "root": str(root), "dataset": NAME, "declaration": events.declaration(CHECKOUT, NAME),
        "history": history, "new": new, "repeats": repeats, "out": str(out),
    }  # fmt: skip
    with lab.process("bench.arms.incremental", json.dumps(spec)) as process:
        one = process.hear(1200.0)
    held = one["runs"][-1]["records"]
    if wrong := stats.differences(states_in(out), windows_of(master.reference(held))):
        raise Failed(f"after {repeats} incremental runs over {held:,} records: {wrong}")
    if strange := [r for r in one["runs"] if (r["mode"], r["read"]) != ("incremental", new)]:
        raise Failed(f"expected incremental runs that read {new:,} records, got {strange[0]}")
    master.forget(root, NAME)
    seconds = ", ".join(f"{r['seconds']:.2f}" for r in one["runs"])
    say(f"incremental: full over {history:,} records {one['full']['seconds']:.2f} s, then {new:,} more in {seconds} s")
    return {"history": history, "new": new, **one}


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
        found.rows.append(Row(what, "s", b, a, "a tenth of the history", stats.ratio([b], [a]), note=note))
    at = [one["history"] / 1e6 for one in told]
    middle = [stats.quantile(small, 0.5), stats.quantile(large, 0.5)]
    found.lines |= {
        "incremental run": list(zip(at, middle, strict=True)),
        "full run": list(zip(at, fulls, strict=True)),
    }
