"""Freshness: from when a probe was due to the first public answer that counts it, at two rates, three arms in turn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from bench import stats
from bench.lab import Failed, Lab, medians, say
from bench.results import Result, Row, Size, Target
from bench.slices import SCREEN_S, STREAM, Arm, Slice, before, between, measured, middle, relay, warm

HIGHER = 3  # turns that measure the higher rate, too


def run(lab: Lab, size: Size) -> Result:
    """Measure every arm at every rate, one slice after the other, so that a drift of the machine meets all of them."""
    found = Result("freshness", "Freshness: event due → counted in the API", "s")
    rates = (5_000, 20_000) if not size.quick else (500, 2_000)
    slices = list[Slice]()
    product = warm(lab, size, rates[0])
    with ExitStack() as held:
        lab.new_topic(f"{STREAM}-relay")
        lab.new_topic(f"{STREAM}-before")
        arms: list[Arm] = [
            product.arm,
            held.enter_context(relay(lab, f"{STREAM}-relay")),
            held.enter_context(before(lab, f"{STREAM}-before")),
        ]
        say("freshness: warming up the others")
        for arm in arms[1:]:
            measured(lab, arm, rates[0] / 2, size.of(15, 5), "warm", product.numbers)
        for turn in range(size.whole(6, 1)):
            for arm, rate in _planned(arms, rates, turn):
                say(f"freshness: {arm.name}, {rate:,} events/s, turn {turn + 1}")
                # `before` is one micro-batch of many seconds after the other: a shorter slice would tell of a part of one
                seconds = size.of(30 if arm.name == "before" else 15, 6)
                try:
                    one = measured(lab, arm, rate, seconds, f"{rate}-{turn}", product.numbers)
                    slices.append(replace(one, turn=turn))
                except Failed as why:
                    found.failed(f"{arm.name} at {rate:,} events/s", why)
        ids = product.arm.reference.good
    return tabled(found, rates, slices, ids)


def _planned(arms: Sequence[Arm], rates: Sequence[int], turn: int) -> list[tuple[Arm, int]]:
    """Return what a turn measures: product and relay, which of them comes first in turn; the rest in some turns only.

    At the higher rate there is no anchor: a stream that is near its limit waits for the machine, and a ratio of its waiting to
    that of an idle relay tells of the minute and not of the arms. `before` is far behind, so its slices are long,
    and every other turn has one.
    """
    product, floor, earlier = arms
    planned = [(product, rates[0]), (floor, rates[0])]
    if turn % 2:
        planned.reverse()
    if turn < HIGHER:
        planned.append((product, rates[1]))
    if turn % 2 == 0:
        planned.append((earlier, rates[0]))
    return planned


def tabled(found: Result, rates: tuple[int, ...], slices: list[Slice], ids: int) -> Result:
    """Return the rows of some slices; a void one gives its reason and no number."""
    by: dict[tuple[str, float], list[Slice]] = defaultdict(list)
    every: dict[tuple[str, float], list[Slice]] = defaultdict(list)  # the uncounted, too: pairs judge themselves
    for one in slices:
        every[one.arm, one.rate].append(one)
        found.samples.append(one.plain())
        if one.uncounted:
            found.void.append(f"{one.arm} at {one.rate:,.0f} events/s: {one.uncounted}")
        else:
            by[one.arm, one.rate].append(one)
    noisy = sum(bool(one.unsteady) for one in slices)
    if noisy * 2 > len(slices):
        found.failed("freshness", f"host too noisy: it moved around {noisy} of {len(slices)} slices")
        return found
    for rate in rates:
        for name, part in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)):
            ours, floor, earlier = (middle(by[arm, rate], part) for arm in ("braid", "relay", "before"))
            target = _target(rate, name)
            note = f"{ids:,} ids held at the end" if name == "p50" else ""
            found.rows.append(
                Row(
                    f"freshness {name} at {rate:,} events/s",
                    "s",
                    ours,
                    floor,
                    "relay without Spark",
                    # of 15 s and 20 probes a second the 99th percentile is the third worst probe: the relay's is one stall of the
                    # disk or none, 0.11 or 0.25 s, and no ratio is made of it
                    between(every["braid", rate], every["relay", rate], part) if name == "p50" else None,
                    target,
                    note or ("" if ours is not None else "no slice counts"),
                )
            )
            if earlier is not None and ours is not None and name == "p50":
                how = f"`before` counted wrongly or not; its screen adds a poll of {SCREEN_S:.0f} s: +{SCREEN_S / 2:g} s mean"
                found.rows.append(
                    Row(
                        f"the same {name} beside `before`",
                        "s",
                        ours,
                        earlier,
                        "2 s trigger, 200 partitions",
                        between(every["braid", rate], every["before", rate], part),
                        Target("ratio", "at most", 1 / 3),
                        how,
                    )
                )
            for arm, age_s in (("braid", ours), ("relay", floor), ("before", earlier)):
                if age_s is not None and name != "p99.9":
                    found.bars[f"{arm} {rate:,}/s {name}"] = age_s
        took = [b["seconds"] for s in by["braid", rate] for b in s.batches]
        if took:
            phases = medians([b["phases"] for s in by["braid", rate] for b in s.batches])
            parts = ", ".join(f"{k} {v * 1000:.0f}" for k, v in phases.items())
            target = Target("product", "at most", 0.22) if rate == 5_000 else None
            found.rows.append(
                Row(
                    f"micro-batch p99 at {rate:,} events/s",
                    "s",
                    stats.quantile(took, 0.99),
                    target=target,
                    note=f"medians, ms: {parts}",
                )
            )
    return found


def _target(rate: int, name: str) -> Target | None:
    return {
        (5_000, "p50"): Target("product", "at most", 0.25),
        (5_000, "p99"): Target("product", "at most", 0.5),
        (20_000, "p99"): Target("product", "at most", 0.8),
    }.get((rate, name))
