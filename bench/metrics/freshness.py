"""Freshness: from when a probe was due to the first public answer that counts it, at two rates, three arms in turn."""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack
from dataclasses import replace

from bench import stats
from bench.lab import Failed, Lab, medians, say
from bench.results import Result, Row, Size, Target
from bench.slices import NOISY, SCREEN_S, STREAM, Arm, Slice, before, measured, relay, warm


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
        for turn in range(size.whole(5, 1)):
            for rate in rates:
                for arm in arms:
                    if arm.name == "before" and (rate != rates[0] or turn):  # it is far behind
                        continue
                    say(f"freshness: {arm.name}, {rate:,} events/s, turn {turn + 1}")
                    try:
                        one = measured(lab, arm, rate, size.of(18, 6), f"{rate}-{turn}", product.numbers)
                        slices.append(replace(one, turn=turn))
                    except Failed as why:
                        found.failed(f"{arm.name} at {rate:,} events/s", why)
        ids = product.arm.reference.good
    return tabled(found, rates, slices, ids)


def tabled(found: Result, rates: tuple[int, ...], slices: list[Slice], ids: int) -> Result:
    """Return the rows of some slices; a void one gives its reason and no number."""
    by: dict[tuple[str, float], list[Slice]] = defaultdict(list)
    for one in slices:
        found.samples.append(one.plain())
        if one.void:
            found.void.append(f"{one.arm} at {one.rate:,.0f} events/s: {one.void}")
        else:
            by[one.arm, one.rate].append(one)
    noisy = sum(one.void.startswith(NOISY) for one in slices)
    if noisy * 2 > len(slices):
        found.failed("freshness", f"host too noisy: it moved around {noisy} of {len(slices)} slices")
        return found
    for rate in rates:
        for name, part in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)):
            ours, floor, earlier = (
                {s.turn: stats.quantile(s.ages_s, part) for s in by[arm, rate] if s.ages_s}
                for arm in ("braid", "relay", "before")
            )
            target = _target(rate, name)
            note = f"{ids:,} ids held at the end" if name == "p50" else ""
            found.rows.append(
                Row(
                    f"freshness {name} at {rate:,} events/s",
                    "s",
                    _middle(ours),
                    _middle(floor),
                    "relay without Spark",
                    stats.ratio_by_turn(ours, floor),
                    target,
                    note or ("" if ours else "no slice counts"),
                )
            )
            if earlier:
                how = f"`before` counted wrongly or not; its screen adds a poll of {SCREEN_S:.0f} s: +{SCREEN_S / 2:g} s mean"
                found.rows.append(
                    Row(
                        f"the same {name} beside `before`",
                        "s",
                        _middle(ours),
                        _middle(earlier),
                        "2 s trigger, 200 partitions",
                        stats.ratio_by_turn(ours, earlier),
                        Target("ratio", "at most", 1 / 3) if name == "p50" else None,
                        how,
                    )
                )
            for arm, values in (("braid", ours), ("relay", floor), ("before", earlier)):
                if values and name != "p99.9":
                    found.bars[f"{arm} {rate:,}/s {name}"] = _middle(values) or 0.0
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


def _middle(by_turn: dict[int, float]) -> float | None:
    return stats.quantile(list(by_turn.values()), 0.5) if by_turn else None


def _target(rate: int, name: str) -> Target | None:
    return {
        (5_000, "p50"): Target("product", "at most", 0.25),
        (5_000, "p99"): Target("product", "at most", 0.5),
        (20_000, "p99"): Target("product", "at most", 0.8),
    }.get((rate, name))
