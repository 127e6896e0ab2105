"""How steady the machine is: a fixed piece of work, over and over during every slice; and what it is.

A virtual core runs at two thirds of its speed while a stranger uses the other half of its physical one. On the machine where
this was written that changes several times a second and is so for half of the time (an idle core: 1.48 ms or 2.21 ms for
the same spin), so two looks, one before and one after, are dice. What counts is how fast the core was on average
meanwhile; that is told by the core's own time for a spin, which waiting for a turn does not lengthen.
"""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
import threading
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from bench.stats import quantile
from braid.settings import JAR_SETS

_TURNS, _EVERY_S = 20_000, 0.05  # about 1 ms of a core, 20 times a second
_WRITES = 30
_PACKAGES = (
    "pyspark", "confluent-kafka", "kafka-python", "cassandra-driver", "lmdb", "duckdb", "polars", "numpy", "pyarrow", "flask", "gunicorn",
)  # fmt: skip


class Spins:
    """Spins now and then while something is measured; `mean_s` is how much of a core's time one took."""

    def __init__(self) -> None:
        self._took: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Spins:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def mean_s(self) -> float:
        """Seconds of a core for one spin, on average."""
        return sum(self._took) / len(self._took)

    def _run(self) -> None:
        while True:
            began, total = time.thread_time(), 0
            for i in range(_TURNS):
                total += i * i
            self._took.append(time.thread_time() - began)
            if self._over.wait(_EVERY_S):
                return


def looked() -> dict[str, float]:
    """Return seconds of a 4 KB write with fsync (the median), load and steal."""
    syncs, block = [], bytes(4096)
    with tempfile.NamedTemporaryFile() as file:
        for _ in range(_WRITES):
            began = time.perf_counter()
            file.write(block)
            file.flush()
            os.fsync(file.fileno())
            syncs.append(time.perf_counter() - began)
    steal = getattr(psutil.cpu_times(), "steal", 0.0)
    return {"sync_s": quantile(syncs, 0.5), "load": os.getloadavg()[0], "steal_s": steal}


def machine() -> dict[str, Any]:
    """Return what this runs on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    return {
        "cores": os.cpu_count(),
        "processor": model,
        "memory_gb": round(memory.total / 1e9, 1),
        "swap_gb": round(swap.total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
    }


def versions() -> dict[str, str]:
    """Return the versions of everything that is measured."""
    found = {"python": platform.python_version()} | {name: metadata.version(name) for name in _PACKAGES}
    java = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr.splitlines()
    return found | {"java": java[0] if java else "", **{name: JAR_SETS[name] for name in ("kafka", "cassandra")}}


def commit(root: Path) -> str:
    """Return the commit that is measured, with `+` when files differ from it; empty without git."""
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=root, capture_output=True, text=True, check=False
    )
    changed = subprocess.run(
        ["git", "status", "--porcelain", "src"], cwd=root, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() + ("+" if changed.stdout.strip() else "")
