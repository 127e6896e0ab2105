"""One process of a kind at a time on this machine: an advisory lock that the kernel releases when its holder dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from braid.errors import AlreadyRunning


@contextmanager
def exclusive(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file for the body of a `with`.

    Parameters
    ----------
    path : Path, made when missing; it holds the pid of its holder
    what : str, names the job in the error

    Raises
    ------
    AlreadyRunning
        Another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise AlreadyRunning(
                f"{what}: already running as pid {file.read().strip() or '?'} (lock {path}); stop it first"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
