"""The sizing table of docs/performance.md, out of a run's JSON: nothing in it is estimated but what says so.

    .venv/bin/python -m bench.sizing bench/results/<run>.json

A rate has a row only when the run sustained it with exact answers. Disk an hour is the measured bytes per event times the rate.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import events

HEAD = (
    "| events/s | keys × windows in each micro-batch | p50, p99 of freshness | ids an hour | memory of everything "
    "| Kafka | Cassandra | seen ids | master |\n"
    "|---|---|---|---|---|---|---|---|---|"
)
KEYS, WINDOWS = len(events.CLASSES) + 1, 3_600_000_000 // events.WINDOW_US  # the probes' key, too


def main() -> int:
    """Print the table."""
    print("\n".join(table(json.loads(Path(sys.argv[1]).read_text("utf-8")))))
    return 0


def table(run: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the table of one run."""
    yield HEAD
    if run["run"]["quick"]:
        return  # tiny sizes are no measurement
    results = {result["metric"]: result for result in run["results"]}
    memory = _product(results, "memory", "all programs together, at most")
    per_event = {
        name: _product(results, "memory", f"{name}, bytes an event") for name in ("Kafka", "Cassandra", "seen ids")
    }
    master = _product(results, "batch", "master, bytes a record")
    for sample in results.get("rate", {}).get("samples", []):
        if not sample.get("sustained"):
            continue
        rate, ages = sample["rate"], sorted(sample["ages_s"])
        hour = rate * 3600
        cells = [
            f"{rate:,.0f}",
            f"{KEYS} × {WINDOWS}",
            f"{ages[len(ages) // 2]:.2f}, {ages[int(len(ages) * 0.99)]:.2f} s",
            f"{hour / 1e6:,.1f} M",
        ]
        cells.append("" if memory is None else f"{memory / 1000:,.1f} GB at 1,000 events/s")
        cells += ["" if size is None else f"{size * hour / 1e9:,.2f} GB/h" for size in (*per_event.values(), master)]
        yield "| " + " | ".join(cells) + " |"


def _product(results: dict[str, Any], metric: str, what: str) -> float | None:
    rows = results.get(metric, {}).get("rows", [])
    found: float | None = next((row["product"] for row in rows if row["what"] == what), None)
    return found


if __name__ == "__main__":
    sys.exit(main())
