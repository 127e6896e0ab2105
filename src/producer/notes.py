"""What a load keeps beside it while it is unfinished: a journal of the files that are sent, and the file of rejects.

Both lie under BRAID_HOME/load/<dataset>. The journal is replaced whole after every part, when the broker has acknowledged its
rows and its rejects are on the disk, and it says how long the file of rejects was then: a load that goes on cuts off what came
after, so no reject is in it twice. A load that has come to its end removes the journal; the rejects stay.
"""

from __future__ import annotations

import json
import os
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

from braid.adapters import durable
from braid.errors import HomeUnusable, UsageError
from producer.tables import Refusal

_SHOWN = 4096  # bytes of a rejected row that the file of rejects holds


@dataclass(slots=True)
class Entry:
    """The journal's text.

    Attributes
    ----------
    load : name of the load; its ledger row carries it
    asked : by what the files, the topics and the declaration are told: another is another load
    files : parts that are sent, by their marks: rows and rejects
    rejects, size : the file of rejects, and how long it was
    """

    load: str
    asked: str
    rejects: str
    size: int = 0
    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    ignored: int = 0


class Journal:
    """The journal of one dataset's load.

    Parameters
    ----------
    folder : Path, BRAID_HOME/load/<dataset>; None: nothing is kept
    asked : what is to be loaded, as one text
    rejects : where rejects go, None for a file of the load's own
    """

    def __init__(self, folder: Path | None, asked: str, rejects: Path | None) -> None:
        self._path = None if folder is None else folder / "journal.json"
        held = self._read()
        self.resumed = held is not None and held.asked == asked and rejects in {None, Path(held.rejects)}
        if held is not None and self.resumed:
            self.entry = held
            return
        load = f"load-{uuid.uuid4().hex[:12]}"
        own = (folder or Path()) / f"rejects-{load.removeprefix('load-')}.jsonl"
        self.entry = Entry(load, asked, str(rejects or own))

    def done(self, mark: str) -> tuple[int, int] | None:
        """Return (rows, rejects) of a part that is sent, None of one that is not."""
        found = self.entry.files.get(mark)
        return None if found is None else (found[0], found[1])

    def begin(self) -> None:
        """Note the load before anything of it is sent, so that it is known when it is run again."""
        self._write()

    def note(self, files: Mapping[str, tuple[int, int]], size: int, reasons: Counter[str], ignored: int) -> None:
        """Note parts as sent: acknowledged, their rejects on the disk."""
        self.entry.files |= files
        self.entry.size, self.entry.reasons, self.entry.ignored = size, dict(reasons), ignored
        self._write()

    def end(self) -> None:
        """Remove it: the load has come to its end."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _read(self) -> Entry | None:
        if self._path is None:
            return None
        try:
            found = Entry(**json.loads(self._path.read_text(encoding="utf-8")))
            found.files = {mark: (rows, bad) for mark, (rows, bad) in found.files.items()}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(
                f"{self._path}: expected the journal of a load, got {error}; remove the file to begin anew"
            ) from error
        return found

    def _write(self) -> None:
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            durable.write_over(self._path, json.dumps(asdict(self.entry)))
        except OSError as error:
            raise HomeUnusable(
                f"{self._path}: expected to write the journal, got {error}; run the load again"
            ) from error


class Rejects:
    """The file of rejects, one line of JSON each; made when the first comes.

    Parameters
    ----------
    size : how much of an earlier run's file stays
    """

    def __init__(self, path: Path, size: int, *, fresh: bool) -> None:
        self.path = path
        self.size = size
        self._file: BinaryIO | None = None
        if fresh and path.exists():
            raise UsageError(
                f"{path}: expected a name not yet taken for the rejects, got a file; name another with --rejects"
            )
        if size:
            self._open()

    def write(self, one: Refusal, raw: bytes | None, *, row: bool, ignored: bool = False) -> None:
        """Add one: file, line (of Parquet: row), column, reason, and the row's bytes as text."""
        where = {"file": one.file, "row" if row else "line": one.line} | ({"column": one.column} if one.column else {})
        shown = {} if raw is None else {"raw": raw[:_SHOWN].decode("utf-8", "backslashreplace")}
        plain = where | {"reason": one.reason} | shown | ({"ignored": True} if ignored else {})
        text = json.dumps(plain, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        self._open().write(text)
        self.size += len(text)

    def sync(self) -> None:
        """Bring what was written to the disk."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _open(self) -> BinaryIO:
        if self._file is None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("ab")
                self._file.truncate(self.size)
            except OSError as error:
                raise UsageError(
                    f"{self.path}: expected a file for the rejects, got {error}; name another with --rejects"
                ) from error
        return self._file


def lines(path: Path) -> Sequence[str]:
    """Return the lines of a file of rejects; none when nothing was rejected."""
    # by line feeds alone: a text may hold other signs that end a line somewhere
    return path.read_text("utf-8").removesuffix("\n").split("\n") if path.exists() else ()
