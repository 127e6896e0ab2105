"""The incremental batch: its cost must follow the new records and not the history.

As long as the batch layer has no incremental mode, the table says "not built" and gives the cost of the full recompute
after the same new records, over a history and over one of ten times the size.
"""

from __future__ import annotations

import inspect
from itertools import pairwise

from batch_layer import recompute
from bench import events, master, stats
from bench.lab import CHECKOUT, Failed, Lab, say
from bench.metrics.batch import engine, states_in, windows_of
from bench.results import Result, Row, Size, Target

NAME = "grown"


def built() -> bool:
    """Return whether the batch layer can go on from an earlier generation's states."""
    words = ("base", "previous", "incremental", "since")
    return hasattr(recompute, "incremental") or any(
        w in inspect.signature(recompute.recompute).parameters for w in words
    )


def run(lab: Lab, size: Size) -> Result:
    """Recompute after the same number of new records, over two lengths of history."""
    found = Result("incremental", "Incremental batch: the same new records after ten times the history", "s")
    found.across = "records of history, millions"
    new, short = size.whole(250_000, 10_000), size.whole(500_000, 20_000)
    text, root = events.declaration(CHECKOUT, NAME), lab.where / "grown"
    points: list[tuple[float, float]] = []
    held = 0
    for history in (short, short * 10):
        for count in (history - held, new):
            engine(
                lab, "make", {"root": str(root), "dataset": NAME, "declaration": text, "first": held, "count": count}
            )
            held += count
        spec = {
            "root": str(root),
            "dataset": NAME,
            "declaration": text,
            "repeats": size.whole(2, 1),
            "out": str(lab.where / "grown.json"),
        }
        one = engine(lab, "braid", spec)
        if wrong := stats.differences(states_in(lab.where / "grown.json"), windows_of(master.reference(held))):
            raise Failed(f"the full recompute is wrong: {wrong}")
        points.append((held / 1e6, min(one["warm_s"])))
        found.samples.append({"records": held, "new": new, **one})
        say(f"incremental: full recompute of {held:,} records, warm {min(one['warm_s']):.2f} s")
    found.lines["full recompute"] = points
    ratio = [b / a for (_, a), (_, b) in pairwise(points)]
    target = Target("ratio", "at most", 1.2)
    if built():
        found.failed(
            "incremental run",
            "the batch layer has an incremental mode that this benchmark does not measure yet: add it here",
        )
    else:
        what = f"incremental run, {new:,} new records, 10 × the history"
        found.rows.append(Row(what, "s", None, target=target, note="not built: every run recomputes everything"))
    what = f"full recompute after {new:,} new records, 10 × the history"
    found.rows.append(
        Row(
            what,
            "s",
            points[-1][1],
            points[0][1],
            "a tenth of the history",
            stats.Ratio(min(ratio), ratio[0], max(ratio), 1),
        )
    )
    master.forget(root, NAME)
    return found
