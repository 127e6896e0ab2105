"""Rows F1, F12, F19, F24: the producer and the API killed, fragments expired, and a soak of all at random."""

from __future__ import annotations

import json
import signal
import subprocess
import time

import psutil

from tests.services.faults import store_rows, stream_rows
from tests.services.faults.campaign import DATASET, SPEED, Campaign

_ROWS = 120  # sent by one run of the producer


def producer_killed(c: Campaign, moment: str) -> None:
    """F1: kill the producer at a place, resume it from its journal, and let it end; what it sends twice are copies."""
    number = sum(r["row"] == "F1" for r in c.tally.rows)
    day = f"2026-07-{1 + number % 28:02d}T{number // 28 % 24:02d}:00:00Z"
    flags = ["--start", day, "--every", "10s", "--limit", str(_ROWS), "--rate", "100", "--json", "--quiet"]
    flags += ["--data", str(c.settings.root / "data" / "landcover")]
    # late enough that a journal was written, where the place comes by often
    entry = f"producer.{moment}:kill9" + ("" if moment == "mid_file" else ":110")
    command = c.command("producer/kafka_producer.py", DATASET, *flags)
    killed = subprocess.run(command, env=c.environ(entry), capture_output=True, text=True, check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-500:]
    c.hit(f"producer.{moment}:kill9")
    again = subprocess.run(
        [*command, "--resume"], env=c.environ(), capture_output=True, text=True, check=False, timeout=120
    )
    assert again.returncode == 0, again.stderr[-500:]
    summary = json.loads(again.stdout)
    assert summary["position"] == _ROWS and summary["sent"] == summary["acknowledged"]
    minute = day[:13].encode()  # of this run: no other has events in this hour
    sent = [r.raw for r in c.pipeline.log(DATASET) if c.checks.foreign in (r.raw or b"") and b'"' + minute in r.raw]
    assert len(set(sent)) == _ROWS, f"expected {_ROWS} different events in the log, got {len(set(sent))}"
    c.tally.producer_copies += len(sent) - _ROWS


def api_killed(c: Campaign, moment: str) -> None:
    """F12: kill the API or its worker while it is asked often; an answer is exact, or there is none."""
    c.recorder.every_s = 0.02
    try:
        c.answered("the API is asked", lambda a: a.complete)
        pid = c.pid("api")
        if moment == "worker":
            worker = psutil.Process(pid).children()[0]
            worker.kill()
            c.hit("kill api worker")
        elif moment == "tail":
            c.arm("serving.tail:kill9")
            c.fires("serving.tail:kill9")
        else:
            c.kill("api")
            c.replaced("api", pid)
        c.answered("the API answers again", lambda a: a.complete)
    finally:
        c.recorder.every_s = 0.25


def api_killed_while_loading(c: Campaign, moment: str) -> None:
    """F12, at a publication: the worker dies when it has read the new generation and not swapped it in."""
    c.load.pause()
    c.arm("serving.loading:kill9")
    done = c.batch("", "--force")
    assert done.returncode == 0, done.stderr[-1000:]
    c.fires("serving.loading:kill9")
    c.answered("the API answers again", lambda a: a.complete)


def soak(c: Campaign, moment: str) -> None:
    """F24: a fault of chance every few seconds, for so many seconds, with no check in between."""
    end = time.monotonic() + int(moment)
    while time.monotonic() < end:
        what = c.random.choice(("raise", "raise", "raise", "api", "kafka", "stop"))
        if what == "raise":
            step = c.random.choice(stream_rows.STEPS)
            c.arm(f"speed.{step}:raise")
            c.fires(f"speed.{step}:raise")
        elif what == "api":
            c.replaced("api", c.kill("api"))
        elif what == "kafka":
            c.replaced("kafka", c.kill("kafka"))
        else:
            store_rows._stopped(c, SPEED, c.random.randrange(1, 5))
        c.streaming()
