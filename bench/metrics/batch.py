"""Full recompute of all views: Braid's Spark beside DuckDB and Polars, two threads each, over the same Parquet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import events, master, stats
from bench.lab import CHECKOUT, Failed, Lab, Process, say
from bench.results import Result, Row, Size, Target

NAME = "history"
PATIENCE_S = 1200.0


def run(lab: Lab, size: Size) -> Result:
    """Make a master, and recompute it by each engine in a process of its own; equal answers or no number.

    Braid and DuckDB take turns once they are warm. Polars comes after them: three do not fit into the memory.
    """
    found = Result("batch", "Batch: full recompute of all views", "s")
    count = size.whole(20_000_000, 200_000)
    text = events.declaration(CHECKOUT, NAME)
    root = lab.where / "history"
    made = engine(lab, "make", {"root": str(root), "dataset": NAME, "declaration": text, "first": 0, "count": count})
    say(f"batch: a master of {count:,} records, {made['mb']:.0f} MB, in {made['seconds']:.0f} s")
    expected = windows_of(master.reference(count))
    told: dict[str, dict[str, Any]] = {}
    for names, repeats in ((("braid", "duckdb"), size.whole(3, 1)), (("polars",), 1)):
        for name, one in _in_turn(
            lab, names, {"root": str(root), "dataset": NAME, "declaration": text}, repeats
        ).items():
            if isinstance(one, Failed):
                found.void.append(f"{name}: {one}")
                continue
            found.samples.append({"engine": name, **one})
            wrong = stats.differences(states_in(Path(one["out"])), expected)
            if wrong or one["digest"] != told.get("braid", one)["digest"]:
                found.void.append(f"{name}: {wrong or 'its views differ from those of Braid'}")
            else:
                told[name] = one
            say(
                f"batch: {name}, cold {one['cold_s']:.1f} s, warm {min(one['warm_s']):.1f} s, {one['mb']:.0f} MB"
                + (f"; wrong: {wrong}" if wrong else "")
            )
    _tabled(found, told, count)
    found.rows.append(
        Row("master, bytes a record", "bytes", made["mb"] * 1e6 / count, note="raw bytes and parsed columns, zstd")
    )
    master.forget(root, NAME)
    return found


def _in_turn(
    lab: Lab, names: Sequence[str], spec: Mapping[str, Any], repeats: int
) -> dict[str, dict[str, Any] | Failed]:
    """Run some engines, each once cold, then in turn warm; return what each says, or why it says nothing."""
    told: dict[str, dict[str, Any] | Failed] = {}
    with ExitStack() as stack:
        running = dict[str, Process]()
        for name in names:
            words = (name, json.dumps({**spec, "out": str(lab.where / f"{name}.json")}))
            running[name] = stack.enter_context(lab.process("bench.arms.batch", *words))
            told[name] = _asked(running[name], {"warm_s": []})
        for line in [*["again"] * repeats, "end"]:
            for name, process in running.items():
                held = told[name]
                if not isinstance(held, Failed):
                    process.tell(line)
                    told[name] = _asked(process, held)
    return told


def _asked(process: Process, held: dict[str, Any]) -> dict[str, Any] | Failed:
    """Return what an engine has said, with its next line; of warm runs a list."""
    try:
        line = process.hear(PATIENCE_S)
    except Failed as why:
        return why
    warm = [*held["warm_s"], line.pop("warm_s")] if "warm_s" in line else held["warm_s"]
    return {**held, **line, "warm_s": warm}


def _tabled(found: Result, told: dict[str, dict[str, Any]], count: int) -> None:
    if "braid" not in told:
        found.failed(f"full recompute of {count:,} records", "Braid gave no right answer")
        return
    warm = {name: one["warm_s"] for name, one in told.items()}
    for name, target in (("duckdb", Target("ratio", "at most", 3.0)), ("polars", None)):
        if name in warm:
            found.rows.append(
                Row(
                    f"{count:,} records, warm", "s", stats.quantile(warm["braid"], 0.5), stats.quantile(warm[name], 0.5), name,
                    # Polars, which ran once and minutes later, is beside nothing that a ratio could be made of
                    stats.ratio(warm["braid"], warm[name]) if target else None, target,
                )
            )  # fmt: skip
    for name, one in told.items():
        cold = one["started_s"] + one["cold_s"]
        found.rows.append(Row(f"{name}: cold, with its start", "s", cold, note=f"peak memory {one['mb']:,.0f} MB"))
        found.bars |= {f"{name} warm": stats.quantile(warm[name], 0.5), f"{name} cold": cold}


def engine(lab: Lab, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """Run what says one line to its end; return the line."""
    with lab.process("bench.arms.batch", name, json.dumps(spec)) as process:
        return process.hear(PATIENCE_S)


def windows_of(reference: events.Reference) -> dict[str, list[int]]:
    """Return the windowed states of a reference as the engines write them, without fingerprints."""
    return {f"{start}|{name}": list(state) for (start, name), state in reference.states.items()}


def states_in(path: Path) -> dict[str, list[int]]:
    """Return the windowed states that an engine wrote, without n of all and fingerprint."""
    return {place: state[2:] for place, state in json.loads(path.read_text("utf-8")).items()}
