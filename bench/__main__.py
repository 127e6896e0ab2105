"""`make bench`: every metric beside its anchor, in one run; `ONLY=freshness,batch` for some, `SCALE=quick` to try it out.

    .venv/bin/python -m bench --only producer --quick

A number stands in the table only when the answers of its slice were right. Everything measured is in bench/results/:
one JSON with the raw samples, one Markdown table, one chart a metric. It starts a stack of its own and removes it.
"""

from __future__ import annotations

import argparse
import importlib
import time
import traceback
from pathlib import Path

from bench import command, noise, report
from bench.lab import CHECKOUT, Failed, Lab, folder, say
from bench.results import Result, Size
from braid.errors import BraidError

# in this order: what wants the machine for itself first
METRICS = (
    "demo",
    "batch",
    "incremental",
    "producer",
    "freshness",
    "rate",  # goes on with the stream of the one before, as the next does
    "growth",
    "backlog",
    "interference",
    "recovery",
    "memory",
    "writes",
    "api",
)
SHARING = ("freshness", "rate", "growth")  # one stream
ALONE = ("profile", "soak")  # only when they are asked for: no number to compare, and an hour by itself


def main() -> int:
    """Measure and write; 1 when a metric gave nothing at all."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--only", default="", help=f"some of {', '.join(METRICS)}; or {', '.join(ALONE)}, which is no part of the whole"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes: to see that it works, not to measure")
    parser.add_argument(
        "--out", type=Path, default=CHECKOUT / "bench" / "results", help="folder (default: %(default)s)"
    )
    given = parser.parse_args()
    wanted = [name.strip() for name in given.only.split(",") if name.strip()] or list(METRICS)
    if unknown := [name for name in wanted if name not in METRICS + ALONE]:
        parser.error(f"--only: expected some of {', '.join(METRICS + ALONE)}, got {unknown[0]!r}")
    began, results = time.time(), list[Result]()
    before = noise.looked()
    interrupted = False
    with folder() as where:
        lab = Lab(where, strict=not given.quick)
        try:
            for name in sorted(wanted, key=(METRICS + ALONE).index):
                results.append(_one(lab, name, Size(quick=given.quick)))
        except KeyboardInterrupt:  # what was measured before is not thrown away
            interrupted = True
        finally:
            say("stopping everything")
            lab.close()
    if interrupted and not results:
        return 130
    facts = report.Facts(began, time.time() - began, given.quick, before, noise.looked(), lab.spins)
    written = report.write(given.out, facts, results)
    print(written.read_text("utf-8"))
    say(f"written: {written} and the files beside it")
    if interrupted:
        return 130
    return 1 if any(not [r for r in result.rows if r.product is not None] for result in results) else 0


def _one(lab: Lab, name: str, size: Size) -> Result:
    say(f"{name} begins")
    began = time.monotonic()
    try:
        if name not in SHARING:
            lab.let_go()
        found: Result = importlib.import_module(f"bench.metrics.{name}").run(lab, size)
    except Exception as why:  # noqa: BLE001 - an hour's other metrics are not given up for one; its row says what happened
        if not isinstance(why, (Failed, BraidError)):
            traceback.print_exc()
        found = Result(name, name, "")
        found.failed(name, f"{type(why).__name__}: {why}")
    found.seconds = time.monotonic() - began
    say(f"{name}: {found.seconds:.0f} s" + "".join(f"\n          void: {text}" for text in found.void))
    return found


if __name__ == "__main__":
    command.run(main)
