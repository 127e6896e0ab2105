"""How steady the machine is: a fixed piece of work before and after every slice, and what it is."""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from bench.stats import quantile
from braid.settings import JAR_SETS

_TURNS = 400_000
_WRITES = 30
_PACKAGES = (
    "pyspark", "kafka-python", "cassandra-driver", "lmdb", "duckdb", "polars", "numpy", "pyarrow", "flask", "gunicorn",
)  # fmt: skip


def looked() -> dict[str, float]:
    """Return seconds of a fixed spin (the best of five) and of a 4 KB write with fsync (the median), load and steal."""
    spins = []
    for _ in range(5):
        began, total = time.perf_counter(), 0
        for i in range(_TURNS):
            total += i * i
        spins.append(time.perf_counter() - began)
    syncs, block = [], bytes(4096)
    with tempfile.NamedTemporaryFile() as file:
        for _ in range(_WRITES):
            began = time.perf_counter()
            file.write(block)
            file.flush()
            os.fsync(file.fileno())
            syncs.append(time.perf_counter() - began)
    steal = getattr(psutil.cpu_times(), "steal", 0.0)
    return {"spin_s": min(spins), "sync_s": quantile(syncs, 0.5), "load": os.getloadavg()[0], "steal_s": steal}


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
