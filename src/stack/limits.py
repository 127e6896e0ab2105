"""Is there room: memory for the heaps that are about to start, disk for the home and the cache."""

import shutil
from pathlib import Path

import psutil

from braid.adapters.environment import memory_bytes
from braid.errors import MissingPrerequisite
from braid.settings import Settings
from stack.programs import Program

# what a JVM needs beside its heap: code, threads, buffers (measured: 150-350 MB each)
BESIDE_HEAP_MB = 250
HOME_MB = 2000
CACHE_MB = 300


def check(settings: Settings, programs: list[Program]) -> None:
    """Raise when what is about to start does not fit.

    Raises
    ------
    MissingPrerequisite : memory or disk; the text says how much is there and how much is wanted
    """
    for reason in (
        memory(programs),
        disk("BRAID_HOME", settings.home, HOME_MB),
        disk("BRAID_CACHE", settings.cache, CACHE_MB),
    ):
        if reason and programs:
            raise MissingPrerequisite(reason)


def memory(programs: list[Program]) -> str | None:
    """Return what is wrong with the free memory for these programs, or None."""
    wanted_mb = sum(program.heap_mb + BESIDE_HEAP_MB for program in programs if program.heap_mb)
    free_mb = min(psutil.virtual_memory().available, memory_bytes()) // 2**20
    if free_mb >= wanted_mb:
        return None
    names = ", ".join(program.name for program in programs)
    return f"memory: {names} need {wanted_mb} MiB, {free_mb} MiB are free; close something, or set BRAID_MEMORY=small"


def disk(what: str, path: Path, wanted_mb: int) -> str | None:
    """Return what is wrong with the free space under a path, or None."""
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    free_mb = shutil.disk_usage(there).free // 10**6
    if free_mb >= wanted_mb:
        return None
    return f"disk: {what} {path}: {free_mb} MB are free, {wanted_mb} MB are needed; free some, or set {what}"
