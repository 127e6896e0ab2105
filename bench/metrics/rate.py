"""The rate that is sustained: steps of load with the lag's slope."""

from __future__ import annotations

from collections.abc import Sequence

from bench import stats
from bench.lab import Client, Lab, eventually, say, status
from bench.results import Result, Row, Size, Target
from bench.slices import STREAM, Slice, measured, warm

# a step is sustained unless the lag surely (95 %) grows by more than this part of the rate, and while it is below so much traffic
SLOPE, LAG_S = 0.01, 5.0


def run(lab: Lab, size: Size) -> Result:
    """Climb, on the stream that runs on for other metrics, and leave it without a lag."""
    found = Result("rate", "Sustained rate: events per second with bounded lag, exact", "events/s")
    steps = (5_000, 10_000, 20_000, 40_000) if not size.quick else (500, 1_000)
    stream, climbed = warm(lab, size, steps[0]), list[Slice]()
    for rate in steps:
        say(f"rate: {rate:,} events/s")
        # where it matters whether a lag grows, it is looked at for longer
        seconds = size.of(45 if rate == steps[-1] else 25, 8)
        one = measured(lab, stream.arm, rate, seconds, f"{rate}", stream.numbers, lag=True)
        found.samples.append(one.plain() | {"sustained": sustained(one)[0]})
        climbed.append(one)
    _tabled(found, climbed)
    client = Client(lab.settings.ports.api)
    eventually("what the last step left is read", lambda: status(client, STREAM)["lag"]["events"] == 0, 300.0)
    return found


def sustained(one: Slice) -> tuple[bool, float, float]:
    """Return whether a step was sustained, the lag's slope in events/s, and the last lag in events.

    The slope is that of the second half of the step: until then the lag grows to that of a micro-batch. It goes up and down by as much
    with each of them, so a slope has an interval.
    """
    began, ended = one.load["began_s"], one.load["began_s"] + one.load["seconds"]
    lags = [(at, lag) for at, lag in one.lags if (began + ended) / 2 <= at <= ended]
    line = stats.fitted(lags)
    if one.uncounted or line is None or line.half is None:
        return False, line.slope if line else 0.0, lags[-1][1] if lags else 0.0
    grows = line.slope - line.half > SLOPE * one.rate
    return not grows and lags[-1][1] <= LAG_S * one.rate, line.slope, lags[-1][1]


def _tabled(found: Result, climbed: Sequence[Slice]) -> None:
    best = 0.0
    for one in climbed:
        held, steep, lag = sustained(one)
        best = one.rate if held else best
        note = (
            one.uncounted
            or f"lag slope {steep:+,.0f} events/s, last {lag:,.0f}; generator {one.load['cpu_share']:.0%} of a core".replace(
                "%", " %"
            )
        )
        found.rows.append(
            Row(
                f"step of {one.rate:,.0f} events/s: {'sustained' if held else 'not sustained'}",
                "events/s",
                one.rate if held else None,
                note=note,
            )
        )
        if one.uncounted:
            found.void.append(f"{one.rate:,.0f} events/s: {one.uncounted}")
        began = one.load["began_s"]
        found.lines[f"braid {one.rate:,.0f}/s"] = [(at - began, lag) for at, lag in one.lags if at >= began]
    found.across, found.unit = "seconds", "events of lag"
    found.rows.append(
        Row(
            "highest sustained step",
            "events/s",
            best or None,
            target=Target("product", "at least", 40_000),
            note="" if best else "none was sustained",
        )
    )
