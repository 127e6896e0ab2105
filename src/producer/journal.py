"""How far the broker has acknowledged: one small file per dataset and topic, under BRAID_HOME/producer.

`position` says that everything before it is acknowledged or refused; it is written after the acknowledgement and never
before, so a resumed run may send some events twice (the layers count each once) and never leaves one out. The file is
replaced whole: a crash leaves the old one or the new one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from braid.adapters import durable
from braid.errors import HomeUnusable, UsageError


@dataclass(frozen=True, slots=True)
class Entry:
    """What a resumed run needs to send the same ids: the arguments in force, a digest of the data, the position."""

    dataset: str
    topic: str
    data: str
    start_us: int
    every_us: int
    position: int


class Journal:
    """The journal of one dataset and topic; `held` is False when another run keeps it.

    Parameters
    ----------
    folder : Path, BRAID_HOME/producer
    """

    def __init__(self, folder: Path, dataset: str, topic: str) -> None:
        self.path = folder / f"{dataset}.{topic}.json"
        self._lock: IO[str] | None = None
        self._written: Entry | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = self.path.with_suffix(".lock").open("w", encoding="ascii")
        except OSError as error:
            raise UsageError(
                f"{folder}: expected a writable folder for the journal, got {error}; set BRAID_HOME"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._lock = lock
        except OSError:
            lock.close()

    @property
    def held(self) -> bool:
        """Whether this run keeps the journal; of several at once the first does."""
        return self._lock is not None

    def read(self) -> Entry | None:
        """Return the last entry, or None when there is none.

        Raises
        ------
        UsageError
            The file is not a journal.
        """
        try:
            return Entry(**json.loads(self.path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(f"{self.path}: expected a journal, got {error}; remove the file to begin anew") from error

    def write(self, entry: Entry) -> None:
        """Put an entry in the place of the last one, on disk before this returns; nothing if it is not held."""
        if not self.held or entry == self._written:
            return
        try:
            durable.write_over(self.path, json.dumps(asdict(entry)))
        except OSError as error:
            raise HomeUnusable(
                f"{self.path}: expected to write the journal, got {error}; go on with --resume"
            ) from error
        self._written = entry

    def close(self) -> None:
        """Let the next run have the journal."""
        if self._lock is not None:
            with contextlib.suppress(OSError):
                self._lock.close()
            self._lock = None

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
