"""The folder of an export: every file in it is whole, and what a killed run left is finished or undone by the next.

    <out>/topic=<topic>/year=<yyyy>/month=<mm>/day=<dd>/hour=<hh>/cut-<seq>-<number>.<format>
    <out>/_export/export.json          what is exported: other arguments want another folder
    <out>/_export/cut-<seq>.json       a cut that is wholly here: its files, its counts
    <out>/_export/stage/               files being written; no reader of the folders above finds them

The files of a cut are written aside. Then the note of them all is written beside them: from here on the next run goes
forward. Each file is renamed into its hour, the note last. Without the note the next run begins the cut again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from braid.adapters import durable, noted
from braid.adapters.durable import FileSum
from braid.adapters.master import Cut
from braid.adapters.noted import Noted
from braid.errors import UsageError
from braid.instants import iso

FORMAT = 1
_ABOUT = "export.json"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is exported: records appended at from_us <= t < to_us (None: open), microseconds UTC."""

    dataset: str
    format: str
    from_us: int | None = None
    to_us: int | None = None

    def plain(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        bounds = [None if t is None else iso(t) for t in (self.from_us, self.to_us)]
        return {"export": FORMAT, "dataset": self.dataset, "format": self.format, "from": bounds[0], "to": bounds[1]}


@dataclass(frozen=True, slots=True)
class Note:
    """One cut in an export.

    Attributes
    ----------
    manifest : sha256 of the cut's manifest in the master
    records, dead : that were exported, by topic
    ledger_records, ledger_dead : of the whole cut, as the ledger counts them
    files : by path within the folder
    """

    cut: int
    manifest: str
    records: Mapping[str, int]
    dead: Mapping[str, int]
    ledger_records: int
    ledger_dead: int
    files: Mapping[str, FileSum]


class Folder:
    """An export on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kept = path / "_export"
        self._noted = Noted(path, self.kept, lambda note: _name(note["cut"]))

    def check(self, wanted: Wanted) -> None:
        """Check that the folder is free or holds this very export; nothing is written.

        Raises
        ------
        UsageError
            It holds something else.
        """
        about = self.kept / _ABOUT
        if about.exists():
            got = json.loads(about.read_text(encoding="utf-8"))
            if got != wanted.plain():
                differs = next(name for name, value in wanted.plain().items() if got.get(name) != value)
                raise UsageError(
                    f"{self.path}: expected an export with {differs} {wanted.plain()[differs]}, got one with "
                    f"{got.get(differs)}; choose another folder: --out"
                )
        elif self.path.exists() and any(p.name != self.kept.name for p in self.path.iterdir()):
            raise UsageError(
                f"{self.path}: expected an empty folder or an earlier export, got other files; choose another: --out"
            )

    def claim(self, wanted: Wanted) -> None:
        """Check the folder, and say in it what it holds. Raises UsageError like `check`."""
        self.check(wanted)
        if not (self.kept / _ABOUT).exists():
            durable.write_new(self.kept / _ABOUT, wanted.plain())

    def held(self, cut: Cut) -> Note | None:
        """Return the note of a cut whose files are all here, None when it is to be written.

        Raises
        ------
        UsageError
            The folder holds an export of another master.
        """
        path = self._note(cut.seq)
        if not path.exists():
            return None
        note = _note_of(path)
        if note.manifest != cut.digest:
            raise UsageError(
                f"{path}: expected an export of the master's {cut.folder} with manifest {cut.digest[:12]}, got of "
                f"{note.manifest[:12]}: another master's; choose another folder: --out"
            )
        if all(noted.size(self.path / name) == held.bytes for name, held in note.files.items()):
            return note
        path.unlink()  # first the note: it must never vouch for less than all
        durable.sync(self.kept)
        for name in note.files:
            (self.path / name).unlink(missing_ok=True)
        return None

    def recover(self) -> None:
        """Finish what a killed run had noted, and remove what it had not."""
        self._noted.recover()

    def begin(self) -> Path:
        """Return an empty stage."""
        return self._noted.begin()

    def commit(self, note: Note) -> Iterator[str]:
        """Move the staged files of a cut into their places, yielding the name of each step when it is done."""
        return self._noted.commit(asdict(note))

    def _note(self, seq: int) -> Path:
        return self.kept / _name(seq)


def _name(seq: int) -> str:
    return f"cut-{seq:010}.json"


def _note_of(path: Path) -> Note:
    plain = json.loads(path.read_text(encoding="utf-8"))
    files = {name: FileSum(**held) for name, held in plain.pop("files").items()}
    return Note(**plain, files=files)
