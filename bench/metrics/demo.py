"""`braid demo` from nothing: its second run to the first answer; the first, in the small profile, weighed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.lab import CHECKOUT, Failed, Lab, Watcher, environ, memory, say
from bench.results import Result, Row, Size, Target
from braid.adapters import environment
from stack.up import down

DATASET = "landcover"


def run(lab: Lab, size: Size) -> Result:
    """Run the demo twice in a home of its own; between the two everything is stopped."""
    del size  # there is one demo
    found = Result("demo", "`braid demo`", "s")
    home = lab.where / "demo"
    port_free = {"BRAID_PORTS": "free", "BRAID_HOME": str(home)}
    for turn, profile in (("first", "small"), ("second", "normal")):
        one = _demo(environ(**port_free, BRAID_MEMORY=profile), home, lab.where)
        found.samples.append({"turn": turn, "profile": profile, **one})
        say(
            f"demo: {turn} run, {profile}: first answer after {one['first_answer_s']:.0f} s, {one['seconds']:.0f} s in all, {one['most_mb']:,.0f} MB"
        )
        if one["wrong"]:
            found.failed(f"demo, {turn} run", one["wrong"])
            continue
        target = Target("product", "at most", 60) if turn == "second" else None
        found.rows.append(
            Row(
                f"{turn} run, {profile} profile, to the first answer",
                "s",
                one["first_answer_s"],
                target=target,
                note=f"{one['seconds']:.0f} s in all",
            )
        )
        heavy = Target("product", "at most", 4_000) if profile == "small" else None
        found.rows.append(
            Row(
                f"{turn} run, {profile} profile, memory at most",
                "MB",
                one["most_mb"],
                target=heavy,
                note="PSS of every program, the demo's own Spark too",
            )
        )
        found.bars[f"braid, {turn} run, first answer"] = one["first_answer_s"]
    return found


def _demo(names: dict[str, str], home: Path, where: Path) -> dict[str, Any]:
    began, first = time.monotonic(), list[float]()

    def looked() -> dict[str, float] | None:
        settings = environment.load(names)
        if not first and settings.ports.api:
            with suppress(OSError, urllib.error.URLError, ValueError):
                url = f"http://127.0.0.1:{settings.ports.api}/api/realtime/ndvi"
                with urllib.request.urlopen(url, timeout=1) as answer:
                    if json.load(answer):
                        first.append(time.monotonic() - began)
        return memory(settings) if home.exists() else None

    log = where / "demo.log"
    try:
        with Watcher(looked, 0.5) as weighed, log.open("ab") as out:
            done = subprocess.run(
                [sys.executable, "-m", "cli.main", "demo"],
                env=names,
                cwd=CHECKOUT,
                stdout=out,
                stderr=out,
                check=False,
                timeout=600,
            )
        seconds = time.monotonic() - began
        wrong = "" if done.returncode == 0 else f"exit {done.returncode}: {log.read_text('utf-8', 'replace')[-300:]}"
        wrong = wrong or _counted(environment.load(names))
    finally:
        down(environment.load(names))
    if not first:
        raise Failed(f"demo: no answer came; it last wrote: {log.read_text('utf-8', 'replace')[-300:]}")
    return {
        "first_answer_s": first[0],
        "seconds": seconds,
        "most_mb": max(sum(m.values()) for _, m in weighed.found),
        "wrong": wrong,
    }


def _counted(settings: Any) -> str:
    """Return why the demo's answer is not what was sent: every offset is good, a copy, dead or absent, and the rows add up."""
    url = f"http://127.0.0.1:{settings.ports.api}/api/v1"
    with urllib.request.urlopen(f"{url}/status", timeout=10) as answer:
        counts = next(d for d in json.load(answer)["datasets"] if d["dataset"] == DATASET)["counts"]
    with urllib.request.urlopen(f"{url}/datasets/{DATASET}/views/landcover_aggregates", timeout=10) as answer:
        n = sum(int(row["n"]) for row in json.load(answer)["data"])
    return "" if n == counts["good"] > 0 else f"expected {counts['good']} events in the answer, got {n}"
