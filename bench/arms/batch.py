"""A full recompute of all views over one master, by one engine, in a process of its own: cold, then warm, with its peak memory.

    python -m bench.arms.batch braid|duckdb|polars '{"root": …, "dataset": …, "declaration": …, "out": …}'

It recomputes once, and once more for each line `again` on stdin, so that engines can take turns; `end` ends it.

All do the same: of each id the first good record in ledger order, then n, fingerprint, Σx, Σx² (exact), min and max per
class and window of ten minutes, per class, and per class of the four bands. What comes out is compared outside. `make` writes the master.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import psutil

from bench.events import WINDOW_US

_BANDS = ("green_mean", "red_mean", "nir1_mean", "nir2_mean")
_THREADS = 2
Views = dict[
    str, dict[tuple[Any, ...], tuple[Any, ...]]
]  # by view, (window start, class) → n, fp, then 5 numbers a measure


def main(engine: str, spec: dict[str, Any]) -> None:
    """Say {"started_s", "cold_s"}, then {"warm_s"} for each time it is asked, then {"mb", "digest", "out"}."""
    engines: dict[str, Callable[[dict[str, Any]], Callable[[], Views]]] = {
        "braid": _braid,
        "duckdb": _duckdb,
        "polars": _polars,
    }
    if engine == "make":
        _say(_make(spec))
        return
    began = time.monotonic()
    once = engines[engine](spec)
    started_s = time.monotonic() - began
    took_s, views = _timed(once)
    _say({"started_s": started_s, "cold_s": took_s})
    while sys.stdin.readline().strip() == "again":
        took_s, views = _timed(once)
        _say({"warm_s": took_s})
    window = {f"{start}|{key}": list(state) for (start, key), state in sorted(views["realtime_ndvi_by_class"].items())}
    text = json.dumps({name: sorted((*k, *v) for k, v in view.items()) for name, view in views.items()}, default=str)
    children = sum(_peak(p) for p in psutil.Process().children(recursive=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 + children
    path = Path(spec["out"])
    path.write_text(json.dumps(window), "utf-8")
    digest = hashlib.sha256(text.encode()).hexdigest()
    _say({"mb": peak, "digest": digest, "out": str(path)})


def _timed(once: Callable[[], Views]) -> tuple[float, Views]:
    began = time.monotonic()
    views = once()
    return time.monotonic() - began, views


def _peak(process: psutil.Process) -> float:
    """Return the most memory a process has had, in MB."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text("ascii").splitlines()
    except OSError:
        return 0.0
    return next((float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _make(spec: dict[str, Any]) -> dict[str, Any]:
    from bench import master
    from braid.adapters import environment
    from braid.adapters import spark as frames
    from braid.declaration_reader import parse

    began = time.monotonic()
    spark = frames.session(environment.load(), "batch")
    declaration = parse(spec["declaration"], spec["dataset"])
    cut = master.made(spark, Path(spec["root"]), declaration, spec["first"], spec["count"])
    frames.end(spark)
    return {
        "records": cut.records,
        "seconds": time.monotonic() - began,
        "mb": sum(f.bytes for f in cut.files.values()) / 1e6,
    }


def _braid(spec: dict[str, Any]) -> Callable[[], Views]:
    """Return Braid's own recompute, as the batch layer runs it."""
    from batch_layer.recompute import recompute
    from batch_layer.spark_batch import Sessions
    from braid.adapters import environment
    from braid.adapters.master import Master
    from braid.declaration_reader import parse

    declaration = parse(spec["declaration"], spec["dataset"])
    sessions = Sessions(environment.load())
    spark, master = sessions.get(), Master(Path(spec["root"]), spec["dataset"])

    def once() -> Views:
        cuts = master.cuts()
        found = recompute(spark, declaration, master, cuts, cuts[-1].seq)
        views: Views = {}
        for name, view in found.states.items():
            views[name] = {
                (start, *key): (state.n, state.fp, *(x for m in state.measures for x in astuple(m)))
                for (start, key), state in view.items()
            }
        return views

    return once


def _duckdb(spec: dict[str, Any]) -> Callable[[], Views]:
    import duckdb

    con = duckdb.connect(config={"threads": _THREADS})
    files = f"{spec['root']}/master/{spec['dataset']}/*/*/*.parquet"
    # the same rows by an aggregate, which DuckDB does many times quicker than a window over all of them
    least = (
        "SELECT arg_min(struct_pack(c := f_class_name, e := event_us, x := f_ndvi_mean, h := id64, g := f_green_mean, r := f_red_mean, "
        'p := f_nir1_mean, q := f_nir2_mean), (seq, "partition", "offset")) AS f '
        f"FROM read_parquet('{files}') WHERE reason IS NULL GROUP BY topic, f_image_id, f_timestamp"
    )

    def measure(x: str) -> str:
        return f"count({x}), coalesce(sum({x}::HUGEINT), 0), coalesce(sum({x}::HUGEINT * {x}), 0), min({x}), max({x})"

    fp = "sum(CASE WHEN f.h < 0 THEN f.h::HUGEINT + 18446744073709551616 ELSE f.h END) % 18446744073709551616"

    def once() -> Views:
        con.execute(f"CREATE OR REPLACE TEMP TABLE counted AS {least}")
        window = f"f.e // {WINDOW_US} * {WINDOW_US}"
        bands = ", ".join(measure(f"f.{x}") for x in "grpq")
        queries = {
            "realtime_ndvi_by_class": f"SELECT {window}, f.c, count(*), {fp}, {measure('f.x')} FROM counted GROUP BY ALL",
            "landcover_aggregates": f"SELECT 0, f.c, count(*), {fp}, {measure('f.x')} FROM counted GROUP BY ALL",
            "spectral_by_class": f"SELECT 0, f.c, count(*), {fp}, {bands} FROM counted GROUP BY ALL",
        }
        return {
            name: {(row[0], row[1]): _whole(row[2:]) for row in con.execute(q).fetchall()}
            for name, q in queries.items()
        }

    return once


def _whole(numbers: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(None if x is None else int(x) for x in numbers)


def _polars(spec: dict[str, Any]) -> Callable[[], Views]:
    os.environ["POLARS_MAX_THREADS"] = str(_THREADS)
    import polars as pl

    files = f"{spec['root']}/master/{spec['dataset']}/*/*/*.parquet"

    def measure(x: str) -> list[Any]:
        square = pl.col(x) * pl.col(x)  # below 2^63, for |x| < 3·10^9
        return [
            pl.col(x).count().alias(f"{x}_n"), pl.col(x).sum().alias(f"{x}_s"), (square // 2**32).sum().alias(f"{x}_hi"),
            (square % 2**32).sum().alias(f"{x}_lo"), pl.col(x).min().alias(f"{x}_a"), pl.col(x).max().alias(f"{x}_b"),
        ]  # fmt: skip

    halves = [
        pl.len().alias("n"),
        (pl.col("id64").reinterpret(signed=False) // 2**32).sum().alias("hi"),
        (pl.col("id64").reinterpret(signed=False) % 2**32).sum().alias("lo"),
    ]

    def states(frame: Any, by: list[str], xs: tuple[str, ...]) -> dict[tuple[Any, ...], tuple[int, ...]]:
        found = frame.group_by(by).agg(*halves, *(e for x in xs for e in measure(x)))
        view: dict[tuple[Any, ...], tuple[int, ...]] = {}
        for row in found.iter_rows(named=True):
            parts: list[Any] = [row["n"], ((row["hi"] << 32) + row["lo"]) % 2**64]
            for x in xs:
                parts += [
                    row[f"{x}_n"],
                    row[f"{x}_s"],
                    (row[f"{x}_hi"] << 32) + row[f"{x}_lo"],
                    row[f"{x}_a"],
                    row[f"{x}_b"],
                ]
            view[row.get("window", 0), row["f_class_name"]] = tuple(parts)
        return view

    def once() -> Views:
        wanted = ["f_class_name", "event_us", "f_ndvi_mean", "id64", *(f"f_{b}" for b in _BANDS)]
        rows = pl.scan_parquet(files).filter(pl.col("reason").is_null())
        place = pl.struct("seq", "partition", "offset")
        firsts = rows.group_by("topic", "f_image_id", "f_timestamp").agg(pl.col(wanted).sort_by(place).first())
        kept = firsts.with_columns((pl.col("event_us") // WINDOW_US * WINDOW_US).alias("window")).collect()
        return {
            "realtime_ndvi_by_class": states(kept, ["window", "f_class_name"], ("f_ndvi_mean",)),
            "landcover_aggregates": states(kept, ["f_class_name"], ("f_ndvi_mean",)),
            "spectral_by_class": states(kept, ["f_class_name"], tuple(f"f_{b}" for b in _BANDS)),
        }

    return once


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
