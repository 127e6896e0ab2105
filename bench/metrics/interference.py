"""Freshness while a batch runs and 50 viewers ask, beside the same when they do not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

from bench.lab import Lab, say, view
from bench.results import Result, Row, Size, Target
from bench.slices import ALL_TIME, WINDOWED, Braid, Numbers, Slice, between, measured, middle

NAME = "disturbed"


def run(lab: Lab, size: Size) -> Result:
    """Measure idle and disturbed slices in turn."""
    found = Result("interference", "Freshness with a batch and 50 viewers beside it", "s")
    rate, numbers = size.whole(5_000, 500), Numbers()
    lab.declared(NAME)
    slices: dict[str, list[Slice]] = {"idle": [], "disturbed": []}
    with lab.running(NAME):
        arm = Braid(lab, NAME)
        measured(lab, arm, rate / 2, size.of(15, 5), "warm", numbers)
        for turn in range(size.whole(5, 1)):
            for kind, kept in slices.items():
                say(f"interference: {kind}, turn {turn + 1}")
                with _disturbing(lab, size.of(15, 6)) if kind == "disturbed" else nullcontext():
                    one = measured(lab, arm, rate, size.of(15, 6), f"{kind}-{turn}", numbers)
                one = replace(one, turn=turn)
                found.samples.append({"kind": kind} | one.plain())
                if one.uncounted:
                    found.void.append(f"{kind}: {one.uncounted}")
                kept.append(one)
    for name, part in (("p50", 0.5), ("p99", 0.99)):
        ratio = between(slices["disturbed"], slices["idle"], part)
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
