"""The schedule of a dataset's batch runs: a small process that starts one run after another and holds no JVM between.

`spark_batch.py --every` becomes this file. A run is a process of its own, at low priority so that the stream keeps the
cores; its end, however it comes, only moves the time of the next one. The times stand in `<home>/batch/<dataset>`:
`last.json` by every run, scheduled or by hand, and `schedule.json` here, for `status`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event
from typing import Any

from braid.adapters import environment
from braid.adapters.clock import SystemClock
from braid.adapters.heartbeat import Heartbeat

LAST, NEXT = "last.json", "schedule.json"
RETRY_US = 60_000_000  # after a run that failed, if the schedule is not more frequent by itself
_LOOK_EVERY_S = 5.0  # a run by hand moves the next one, and so does a clock that was set
_NICER = 10  # than the stream, which is nicer than the API and the stores


def next_us(last: dict[str, Any] | None, every_us: int, now_us: int) -> int:
    """Return when the next run is due, microseconds UTC.

    Parameters
    ----------
    last : record of the newest run of any kind, None when there was none
    every_us : between the starts of two runs

    Examples
    --------
    >>> next_us(None, 600_000_000, 5), next_us({"started_us": 100, "error": ""}, 600_000_000, 5) == 100 + RETRY_US
    (600000005, True)
    >>> next_us({"started_us": 100}, 600_000_000, 900_000_000)
    600000100
    """
    if last is None:
        return now_us + every_us
    wait_us = min(every_us, RETRY_US) if "error" in last else every_us
    # a clock that was set back must not put the next run off for ever
    return min(int(last["started_us"]) + wait_us, now_us + every_us)


def read(path: Path) -> dict[str, Any] | None:
    """Return a record, None when there is none that can be read."""
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found


def write(path: Path, record: dict[str, Any]) -> None:
    """Write a record, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".new")
    aside.write_text(json.dumps(record), "utf-8")
    aside.replace(path)


class Schedule:
    """Runs of one dataset, one after another, until it is stopped.

    Parameters
    ----------
    folder : `<home>/batch/<dataset>`
    every_us : between the starts of two runs
    command : of one run
    beat : told what it does, at each change: the job's sign of life
    """

    def __init__(self, folder: Path, every_us: int, command: Sequence[str], beat: Callable[[str], None]) -> None:
        self._folder = folder
        self._every_us = every_us
        self._command = command
        self._beat = beat
        self._stop = Event()
        self._running: subprocess.Popen[bytes] | None = None
        self._first_us = SystemClock().now_us() + every_us

    def stop(self, *_: object) -> None:
        """Stop waiting, and the run that is at work; what it has not published it leaves to the next."""
        self._stop.set()
        if self._running is not None:
            self._running.terminate()

    def serve(self) -> None:
        """Run batches when they are due, until `stop`."""
        while not self._stop.is_set():
            now_us, due_us = SystemClock().now_us(), self.due_us()
            if now_us >= due_us:
                self._run()
                continue
            self._beat("waiting for the next run")
            write(self._folder / NEXT, {"every_us": self._every_us, "next_us": due_us, "pid": os.getpid()})
            self._stop.wait(min(_LOOK_EVERY_S, (due_us - now_us) / 1e6))

    def due_us(self) -> int:
        """Return when the next run is due."""
        last = read(self._folder / LAST)
        return self._first_us if last is None else next_us(last, self._every_us, SystemClock().now_us())

    def _run(self) -> None:
        started_us = SystemClock().now_us()
        self._beat("running")
        # between here and the assignment a signal would find nothing to terminate: it is set before it is looked at
        self._running = subprocess.Popen(self._command)
        if self._stop.is_set():
            self._running.terminate()
        status = self._running.wait()
        self._running = None
        last = read(self._folder / LAST)
        if status and (last is None or last["started_us"] < started_us):
            # killed before it could say anything
            write(self._folder / LAST, {"started_us": started_us, "error": f"ended with status {status}"})


def main(argv: Sequence[str]) -> int:
    """Serve the schedule of a dataset: its name, the microseconds between two runs, the file of one run."""
    dataset, every_us, file = argv
    settings = environment.load()
    os.nice(_NICER)
    command = [sys.executable, file, "--dataset", dataset, "--once", "--json"]
    heart = Heartbeat(settings.heartbeat(f"batch-{dataset}"))
    schedule = Schedule(settings.home / "batch" / dataset, int(every_us), command, heart.beat)
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, schedule.stop)
    print(  # noqa: T201 - the log of a long-running job
        f"{dataset}: a batch every {int(every_us) / 1e6:g} s; next at "
        f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(schedule.due_us() / 1e6))}",
        file=sys.stderr, flush=True,
    )  # fmt: skip
    schedule.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
