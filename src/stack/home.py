"""BRAID_HOME: made and checked, locked against a second `up`, and searched for processes that lost their supervisor."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager

import psutil

from braid.adapters.lock import exclusive
from braid.errors import HomeUnusable
from braid.settings import MARK, Settings

PATIENCE_S = 20.0
FOLDERS = ("kafka", "cassandra", "hive", "spark/tmp", "logs", "run/programs", "run/tmp", "speed", "warehouse")


def make(settings: Settings) -> None:
    """Create the folders of BRAID_HOME.

    Raises
    ------
    HomeUnusable : they cannot be created or written
    """
    try:
        for folder in FOLDERS:
            (settings.home / folder).mkdir(parents=True, exist_ok=True)
        probe = settings.run / f"probe.{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        where = error.filename or settings.home
        raise HomeUnusable(
            f"BRAID_HOME {settings.home}: cannot write {where} ({error.strerror}); make it writable or set BRAID_HOME"
        ) from error


def locked(settings: Settings) -> AbstractContextManager[None]:
    """Hold the lock of this BRAID_HOME: one `up`, `down` or `clean` at a time.

    Raises
    ------
    AlreadyRunning : another process holds it; names it
    """
    return exclusive(settings.run / "lock", f"braid in {settings.home}")


def marked(settings: Settings) -> list[psutil.Process]:
    """Return the running processes that this home's supervisor started, itself included."""
    ours = os.getpid()
    home = str(settings.home)
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            env = process.environ()
        except psutil.Error:
            continue
        if process.pid != ours and env.get("BRAID_HOME") == home and MARK in env:
            found.append(process)
    return found


def end(processes: list[psutil.Process], say: Callable[[str], None]) -> None:
    """Ask processes to end, and kill those that have not after some seconds."""
    for process in processes:
        try:
            say(f"ending {process.name()} (pid {process.pid}), left by an earlier run")
            process.terminate()
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(processes, timeout=PATIENCE_S)
    for process in alive:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=10.0)
