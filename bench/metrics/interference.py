"""Freshness while a batch runs and 50 viewers ask, beside the same when they do not."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

from bench.lab import Lab, say, view
from bench.results import Result, Row, Size, Target
from bench.slices import ALL_TIME, WINDOWED, Braid, Numbers, Slice, between, measured, middle

NAME = "disturbed"


def run(lab: Lab, size: Size) -> Result:
    """Measure idle and disturbed slices in turn; each disturbed one is beside the idle one before it and the one after."""
    found = Result("interference", "Freshness with a batch and 50 viewers beside it", "s")
    rate, turns, numbers = size.whole(5_000, 500), size.whole(5, 1), Numbers()
    lab.declared(NAME)
    slices: dict[str, list[Slice]] = {"idle": [], "disturbed": []}
    with lab.running(NAME):
        arm = Braid(lab, NAME)
        measured(lab, arm, rate / 2, size.of(15, 5), "warm", numbers)
        for turn, kind in [*itertools.product(range(turns), slices), (turns, "idle")]:
            say(f"interference: {kind}, turn {turn + 1}")
            # a batch run takes longer than that beside this load
            seconds = size.of(25 if kind == "disturbed" else 20, 6)
            with _disturbing(lab, seconds) if kind == "disturbed" else nullcontext():
                one = measured(lab, arm, rate, seconds, f"{kind}-{turn}", numbers)
            one = replace(one, turn=turn)
            found.samples.append({"kind": kind} | one.plain())
            if one.uncounted:
                found.void.append(f"{kind}: {one.uncounted}")
            slices[kind].append(one)
    after = [replace(one, turn=one.turn - 1) for one in slices["idle"]]
    for name, part in (("p50", 0.5), ("p99", 0.99)):
        ratio = between(slices["disturbed"], [*slices["idle"], *after], part)
        if ratio is not None:
            shown = {kind: middle([s for s in of if not s.void], part) for kind, of in slices.items()}
            target = Target("ratio", "at most", 2.0) if name == "p99" else None
            found.rows.append(
                Row(
                    f"freshness {name} at {rate:,} events/s, disturbed", "s", shown["disturbed"], shown["idle"], "the same, idle",
                    ratio, target,
                )
            )  # fmt: skip
            bars = {f"braid disturbed {name}": shown["disturbed"], f"idle {name}": shown["idle"]}
            found.bars |= {bar: age_s for bar, age_s in bars.items() if age_s is not None}
        else:
            found.failed(f"freshness {name}, disturbed", "no turn in which both count and the machine was the same")
    lab.drop(NAME)
    return found


@contextmanager
def _disturbing(lab: Lab, seconds: float) -> Iterator[None]:
    """Run a batch of the same dataset, and viewers who ask once a second by ETag, as a dashboard does."""
    paths = [view(NAME, WINDOWED), view(NAME, ALL_TIME), f"/api/v1/datasets/{NAME}/alerts"]
    spec = {"port": lab.settings.ports.api, "paths": paths, "viewers": 50, "seconds": seconds, "rate": 50}
    with lab.process("bench.http_load") as viewers, lab.batching(NAME) as summary:
        viewers.tell(json.dumps(spec))
        yield
        summary()
        viewers.hear(seconds * 3 + 60)
