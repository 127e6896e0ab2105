"""A job's sign of life: a small file with its pid and what it does, replaced whole at each stage."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

_AT_MOST_EVERY_S = 0.05  # a passing stage is written; a rename takes 2 ms, and a micro-batch has ten stages
AT_WORK_S = 3.0  # a stream that has records commits several times in it
REFUSED = "refused: "  # begins the last words of a job that no restart mends


class Heartbeat:
    """Writes the file of one job.

    Parameters
    ----------
    path : Path, usually `Settings.heartbeat(name)`
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._measured: dict[str, Any] = {}
        self._turn = threading.Lock()  # a stream's micro-batches beat from another thread than its main one
        self._passing: tuple[str, int] | None = None  # not written yet
        self._wake = threading.Event()
        self._writer: threading.Thread | None = None
        path.parent.mkdir(parents=True, exist_ok=True)

    def beat(self, stage: str) -> None:
        """Say what the job does now; it is written when this returns."""
        with self._turn:
            self._passing = None
            self._write(stage, _now_us())

    def passing(self, stage: str) -> None:
        """Say what the job does now without waiting for the disk: another thread writes it soon, or a later one in its place."""
        with self._turn:
            self._passing = (stage, _now_us())
            if self._writer is None:
                self._writer = threading.Thread(target=self._write_passing, name="heartbeat", daemon=True)
                self._writer.start()
        self._wake.set()

    def _write_passing(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            # a full disk may have room at the next stage; as long as it has none the job looks silent, which it is to others
            with self._turn, suppress(OSError):
                if self._passing is not None:
                    self._write(*self._passing)
                    self._passing = None
            time.sleep(_AT_MOST_EVERY_S)

    def _write(self, stage: str, at_us: int) -> None:
        pid = os.getpid()
        aside = self._path.with_suffix(f".{pid}")  # a zombie of the same name has its own
        aside.write_text(json.dumps({"pid": pid, "stage": stage, "at_us": at_us} | self._measured), "utf-8")
        aside.replace(self._path)

    def measured(self, seq: int, seconds: Mapping[str, float]) -> None:
        """Let the next beats carry how long each stage of the newest committed micro-batch took, in seconds."""
        phases = {name: round(took, 6) for name, took in seconds.items()}
        micro_batch = {"seq": seq, "seconds": round(sum(seconds.values()), 6), "phases": phases}
        self._measured = {"micro_batch": micro_batch, "measured_us": _now_us()}

    def at_work(self, within_s: float = AT_WORK_S) -> int:
        """Return how many streams of this home have committed a micro-batch lately, this one not counted."""
        kind = self._path.name.partition("-")[0]
        others = (path for path in self._path.parent.glob(f"{kind}-*") if path != self._path and not path.suffix)
        since_us = _now_us() - within_s * 1_000_000
        return sum(1 for path in others if (said(path) or {}).get("measured_us", 0) >= since_us)


def _now_us() -> int:
    return time.time_ns() // 1000


def said(path: Path) -> dict[str, Any] | None:
    """Return what the living job says: pid, stage, at_us, and `micro_batch` when it measured one.

    None when there is no file, or its writer is gone.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return found if psutil.pid_exists(int(found["pid"])) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def stage(path: Path) -> str | None:
    """Return what the living job says it does; None when there is no file, or its writer is gone."""
    found = said(path)
    return str(found["stage"]) if found else None
