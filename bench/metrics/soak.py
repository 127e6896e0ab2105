"""An hour at 1,000 events a second: nothing may grow but what counts events. Not part of the whole run: `make bench ONLY=soak`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import psutil

from bench import stats
from bench.lab import CHECKOUT, Lab, Watcher, by_program, memory, say
from bench.results import Result, Row, Size, Target
from bench.slices import Braid, Numbers, measured

NAME = "soaked"
RATE = 1_000
_LOOK_S = 15.0
_WARM_S = 600.0  # Java compiles for so long: its triggers get shorter, and its memory grows
# slopes an hour that are called none, relative to the middle
_FLAT = 0.05
# which are of a file that counts events: the kernel lends them, and takes them back when it wants to
_MEMORY = "memory but for the pages of the seen ids"


def run(lab: Lab, size: Size) -> Result:
    """Send for an hour in pieces, look at the programs every quarter of a minute, then let `braid verify` count again."""
    found = Result("soak", f"An hour at {RATE:,} events/s: slopes an hour, relative to the middle", "per hour")
    pieces, seconds = size.whole(12, 2), size.of(300, 10)
    numbers, took = Numbers(), list[tuple[float, float]]()
    lab.declared(NAME)
    with lab.running(NAME):
        arm = Braid(lab, NAME)
        measured(lab, arm, RATE, size.of(_WARM_S, 5), "warm", numbers)
        with Watcher(lambda: _looked(lab), size.of(_LOOK_S, 2)) as seen:
            for piece in range(pieces):
                one = measured(lab, arm, RATE, seconds, f"piece{piece}", numbers)
                # of tens of thousands of micro-batches their seqs and seconds, not their phases
                found.samples.append(one.plain() | {"micro_batches": [(b["seq"], b["seconds"]) for b in one.batches]})
                if one.uncounted:
                    found.void.append(f"piece {piece}: {one.uncounted}")
                took += [
                    (one.load["began_s"] + k * seconds / len(one.batches), b["seconds"])
                    for k, b in enumerate(one.batches)
                ]
                say(f"soak: {piece + 1} of {pieces}: p99 {stats.quantile(one.ages_s, 0.99):.2f} s")
            found.samples.append({"looks": seen.found})
        verified = _verified(lab)
    found.rows.append(Row("`braid verify` afterwards", "", 1.0 if not verified else None, note=verified or "clean"))
    series: dict[str, Sequence[tuple[float, float]]] = {"micro-batch time": took}
    for name in (_MEMORY, "open files", "checkpoint files"):
        series[name] = [(at, each[name]) for at, each in seen.found]
    for name, points in series.items():
        line = stats.fitted([(at / 3600, y) for at, y in points])
        middle = stats.quantile([y for _, y in points], 0.5) if points else 0.0
        if line is None or not middle:
            found.failed(name, "too few points for a slope")
            continue
        first = points[0][0]
        half = "" if line.half is None else f", 95 % interval ±{line.half / middle:.3f}"
        found.rows.append(
            Row(
                f"slope of {name}",
                "per hour",
                abs(line.slope / middle),
                target=Target("product", "at most", _FLAT),
                note=f"{line.slope / middle:+.3f}{half}; middle {middle:,.3g}",
            )
        )
        found.lines[name] = [((at - first) / 60, y / middle) for at, y in thinned(points)]
    found.across = "minutes"
    lab.drop(NAME)
    return found


def thinned(points: Sequence[tuple[float, float]], most: int = 240) -> list[tuple[float, float]]:
    """Return at most so many points: the medians of groups that are equally large, in their order.

    Examples
    --------
    >>> thinned([(0, 1), (1, 5), (2, 2), (3, 9), (4, 9), (5, 3)], 2)
    [(1, 2), (4, 9)]
    """
    each = -(-len(points) // most)
    groups = [points[at : at + each] for at in range(0, len(points), each or 1)]
    return [(stats.quantile([x for x, _ in g], 0.5), stats.quantile([y for _, y in g], 0.5)) for g in groups]


def _looked(lab: Lab) -> dict[str, float]:
    """Return memory in MB and open files, both of everything and by program, and the files of the stream's folder."""
    found = {
        "memory": memory(lab.settings),
        "open files": by_program(lab.settings, lambda process: float(process.num_fds())),
    }
    pages = sum(by_program(lab.settings, _pages).values())
    files = sum(1 for path in (lab.settings.home / "speed" / NAME).rglob("*") if path.is_file())
    counts = {
        _MEMORY: sum(found["memory"].values()) - pages,
        "pages of the seen ids": pages,
        "open files": sum(found["open files"].values()),
        "checkpoint files": float(files),
    }
    return counts | {f"{what} of {name}": n for what, programs in found.items() for name, n in programs.items()}


def _pages(process: psutil.Process) -> float:
    """Return how many MB of the file of seen ids a process has mapped; no Java program does, whose maps are many."""
    maps = () if process.name() == "java" else process.memory_maps()
    return float(sum(m.pss for m in maps if "/seen-ids.lmdb/" in m.path)) / 1e6


def _verified(lab: Lab) -> str:
    """Return what `braid verify` finds wrong, empty when nothing."""
    command = [sys.executable, "-m", "cli.main", "verify", NAME]
    more = lab.environ | lab.settings.spark_env() | {"PYTHONPATH": str(CHECKOUT / "src")}
    done = subprocess.run(command, env=more, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"exit {done.returncode}: {(done.stdout + done.stderr).strip()[-300:]}"
