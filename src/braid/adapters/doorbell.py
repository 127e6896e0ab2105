"""A named pipe by which a stream tells the API of its machine that there is something new: to be looked at, never to be believed.

What was rung for, and whether, decides nothing: who listens asks the ledger. A ring that nobody hears, or one without a
reason, costs a look later or a look more.
"""

from __future__ import annotations

import os
import select
from contextlib import suppress
from pathlib import Path


class Doorbell:
    """Listens at a path; of several listeners the newest one hears.

    Parameters
    ----------
    path : Path, usually `Settings.doorbell(dataset)`
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(f".{os.getpid()}")
        aside.unlink(missing_ok=True)
        os.mkfifo(aside, 0o600)
        # for writing too: then it has no end when the last stream that rang has gone
        self._pipe = os.open(aside, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        aside.replace(path)
        self._poll = select.poll()
        self._poll.register(self._pipe, select.POLLIN)

    def wait(self, longest_s: float) -> bool:
        """Wait until somebody rings, or for so many seconds; return whether somebody rang since the last call."""
        rang = bool(self._poll.poll(longest_s * 1000))
        if rang:
            os.read(self._pipe, 65_536)  # however often: one look is enough
        return rang

    def close(self) -> None:
        """Listen no more."""
        os.close(self._pipe)


def ring(path: Path) -> None:
    """Ring at a path, if anybody listens there; never waits."""
    with suppress(OSError):  # nobody there, or so many rings unheard that the pipe is full
        bell = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(bell, b"\a")
        finally:
            os.close(bell)
