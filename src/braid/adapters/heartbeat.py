"""A job's sign of life: a small file with its pid and what it does, replaced whole at each stage."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import psutil

REFUSED = "refused: "  # begins the last words of a job that no restart mends


class Heartbeat:
    """Writes the file of one job.

    Parameters
    ----------
    path : Path, usually `Settings.heartbeat(name)`
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def beat(self, stage: str) -> None:
        """Say what the job does now."""
        aside = self._path.with_suffix(".new")
        aside.write_text(json.dumps({"pid": os.getpid(), "stage": stage, "at_us": time.time_ns() // 1000}), "utf-8")
        aside.replace(self._path)


def stage(path: Path) -> str | None:
    """Return what the living job says it does; None when there is no file, or its writer is gone."""
    try:
        said = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return str(said["stage"]) if psutil.pid_exists(int(said["pid"])) else None
