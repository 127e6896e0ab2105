"""Memory of the whole stack as proportional set size, at 1,000 events a second."""

from __future__ import annotations

from bench import stats
from bench.lab import Lab, Watcher, memory
from bench.results import Result, Row, Size, Target
from bench.slices import Braid, Numbers, measured

NAME = "weighed"
RATE = 1_000


def run(lab: Lab, size: Size) -> Result:
    """Send for a while and weigh every program every few seconds."""
    found = Result("memory", "Memory of the whole stack at 1,000 events/s, PSS", "MB")
    numbers = Numbers()
    lab.declared(NAME)
    with lab.running(NAME), Watcher(lambda: memory(lab.settings), 5.0) as weighed:
        arm = Braid(lab, NAME)
        one = measured(lab, arm, RATE, size.of(120, 10), "weighed", numbers)
    found.samples += [{"at_s": at, **each} for at, each in weighed.found]
    if one.void:
        found.failed("memory", one.void)
        return found
    newest = weighed.found[-1][1]
    totals = [(at, sum(each.values())) for at, each in weighed.found]
    late = totals[len(totals) // 3 :]
    slope = stats.slope(late)
    note = f"slope over the last two thirds {0.0 if slope is None else slope * 3600:+,.0f} MB an hour; an hour's soak is another run"
    found.rows.append(
        Row(
            "all programs together, at most",
            "MB",
            max(total for _, total in totals),
            target=Target("product", "at most", 6_000),
            note=note,
        )
    )
    found.rows += [Row(name, "MB", mb) for name, mb in sorted(newest.items())]
    found.bars = dict(sorted(newest.items(), key=lambda item: -item[1]))
    lab.drop(NAME)
    return found
